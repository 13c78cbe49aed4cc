/** A statement of an IAM policy. */
export interface Statement {
  Effect: string;
  Action?: string | string[];
  NotAction?: string | string[];
  Resource?: string | string[];
  NotResource?: string | string[];
  Principal?: string | Record<string, string | string[]>;
  NotPrincipal?: string | Record<string, string | string[]>;
  Condition?: Record<string, Record<string, unknown>>;
}

/** The statements of an IAM policy, which a resource holds as text or as an object. */
export function statementsOf(policy: unknown): Statement[] {
  const { Statement: statements = [] } = (typeof policy === "string" ? JSON.parse(policy) : policy) as {
    Statement?: Statement | Statement[];
  };
  return [statements].flat();
}

export function list(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : [value].flat();
}

export function principalsOf({ Principal }: Statement): string[] {
  return typeof Principal === "object" ? Object.values(Principal).flat() : list(Principal);
}
