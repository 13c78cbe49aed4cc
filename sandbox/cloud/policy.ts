interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: string | string[];
}

function list(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : Array.isArray(value) ? value : [value];
}

function matches(pattern: string, value: string): boolean {
  const expression = pattern
    .split(/([*?])/)
    .map((part) => (part === "*" ? ".*" : part === "?" ? "." : part.replace(/[\\^$.|+()[\]{}]/g, "\\$&")))
    .join("");
  return new RegExp(`^${expression}$`).test(value);
}

/** Whether policies allow an action: an explicit deny wins, and what is not allowed is denied. */
export function isAllowed(policies: string[], action: string, resource: string): boolean {
  const effects = policies
    .flatMap((policy) => (JSON.parse(policy) as { Statement: Statement | Statement[] }).Statement)
    .filter((statement) => {
      const { Effect, Action, Resource, ...rest } = statement;
      if (Object.keys(rest).some((key) => key !== "Sid")) {
        throw new Error(`the sandbox does not know these parts of a policy: ${Object.keys(rest).join(", ")}`);
      }
      return (
        list(Action).some((pattern) => matches(pattern.toLowerCase(), action.toLowerCase())) &&
        list(Resource).some((pattern) => matches(pattern, resource))
      );
    })
    .map(({ Effect }) => Effect);
  return effects.includes("Allow") && !effects.includes("Deny");
}
