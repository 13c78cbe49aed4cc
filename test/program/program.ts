import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { projectRoot } from "../../sandbox/paths";
import { awsInvokes, awsTypes } from "../../sandbox/provider/aws";

export interface Registered {
  type: string;
  name: string;
  inputs: Record<string, unknown>;
}

/** How the program asks the engine to make a resource. */
interface Registration {
  type: string;
  name: string;
  /** URNs of earlier versions. */
  aliases: string[];
  /** URNs of what has to be there before. */
  dependencies: string[];
  deletedBeforeReplaced: boolean;
  /** Inputs whose changes the engine ignores. */
  ignoredChanges: string[];
}

/** What the SDK sends to an engine: as much of it as tests read. Its class has no types. */
interface RegisterRequest {
  getType(): string;
  getName(): string;
  getAliasesList(): { getUrn(): string }[];
  getDependenciesList(): string[];
  getDeletebeforereplace(): boolean;
  getIgnorechangesList(): string[];
}

/** What each type gives besides its inputs; a type that is not here does not exist for the program. */
const outputs: Record<string, (name: string) => Record<string, unknown>> = {
  ...Object.fromEntries(
    Object.entries(awsTypes).map(([type, { computed, autoName }]) => [
      type,
      (name: string) =>
        Object.fromEntries(
          [...computed, ...(autoName ? [autoName] : [])].map((key) => [key, `${key} of ${name}`]),
        ),
    ]),
  ),
  "aws:ec2/instance:Instance": () => ({ privateIp: "172.31.0.9", publicIp: "203.0.113.9" }),
  "aws:s3/bucket:Bucket": () => ({ bucket: "software-bucket", arn: "arn:aws:s3:::software-bucket" }),
  "tls:index/privateKey:PrivateKey": (name) => ({ privateKeyPem: `key of ${name}` }),
  "tls:index/selfSignedCert:SelfSignedCert": (name) => ({ certPem: `certificate of ${name}` }),
  "tls:index/certRequest:CertRequest": (name) => ({ certRequestPem: `request of ${name}` }),
  "tls:index/locallySignedCert:LocallySignedCert": (name) => ({ certPem: `certificate of ${name}` }),
  "command:local:Command": () => ({ stdout: "" }),
};

/** What ended the program, and what it had registered by then. */
class ProgramError extends Error {
  constructor(
    cause: unknown,
    readonly resources: Registered[],
  ) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** What differs from the sandbox's account. */
interface Account {
  /** The default subnets. */
  subnets?: { id: string; zone: string; zoneId: string }[];
  /** The subnets that machines are in already, by their names. Changes of these inputs are ignored. */
  machinesIn?: Record<string, string>;
}

/** The answer of a look-up about subnets. */
function lookUpSubnet(subnets: NonNullable<Account["subnets"]>, { id }: Record<string, unknown>) {
  if (id === undefined) return { ids: subnets.map((subnet) => subnet.id) };
  const { zone, zoneId } = subnets.find((subnet) => subnet.id === id) ?? {};
  return { id, availabilityZone: zone, availabilityZoneId: zoneId };
}

const program = join(projectRoot, "index.ts");
let runs = 0;

/**
 * Runs the real program with mocks that fail on anything they do not know.
 * @throws ProgramError when the program ends with an error
 */
export async function runProgram(
  config: Record<string, unknown>,
  secretKeys: string[] = [],
  stack = "dev",
  account: Account = {},
): Promise<{
  resources: Registered[];
  registrations: Registration[];
  protectedResources: string[];
  outputs: Record<string, unknown>;
}> {
  const resources: Registered[] = [];
  const protectedResources: string[] = [];
  await pulumi.runtime.setMocks(
    {
      newResource({ type, name, inputs }) {
        if (type === "pulumi:pulumi:Stack" || type.startsWith("wcs-balancer:"))
          return { id: name, state: inputs };
        if (type === "pulumi:pulumi:StackReference") {
          const node = { name: "other", privateAddress: "172.31.0.8", instanceId: "i-0123456700000007" };
          return { id: name, state: { ...inputs, outputs: { wcsNodes: [node] }, secretOutputNames: [] } };
        }
        const known = outputs[type];
        if (!known) throw new Error(`no mock for the resource type ${type}`);
        resources.push({ type, name, inputs });
        const id = type === "aws:ec2/instance:Instance" ? `i-0${name.padStart(16, "0")}` : `${name}-id`;
        const subnetId = account.machinesIn?.[name];
        return { id, state: { ...inputs, ...known(name), ...(subnetId && { subnetId }) } };
      },
      call({ token, inputs }) {
        if (account.subnets && token.startsWith("aws:ec2/getSubnet"))
          return lookUpSubnet(account.subnets, inputs);
        const invoke = awsInvokes[token];
        if (!invoke) throw new Error(`no mock for the function ${token}`);
        return invoke.answer(inputs);
      },
    },
    "wcs-balancer",
    stack,
    false,
  );
  // The SDK's mocks know no hooks; a hook is called by an engine, and there is none here.
  const monitor = pulumi.runtime.getMonitor() as unknown as Record<string, unknown>;
  monitor.registerResourceHook = (_: unknown, answer: (error: null, response: unknown) => void) =>
    answer(null, {});
  const registrations: Registration[] = [];
  const register = monitor.registerResource as (request: RegisterRequest, answer: unknown) => unknown;
  monitor.registerResource = (request: RegisterRequest, answer: unknown) => {
    registrations.push({
      type: request.getType(),
      name: request.getName(),
      aliases: request.getAliasesList().map((alias) => alias.getUrn()),
      dependencies: request.getDependenciesList(),
      deletedBeforeReplaced: request.getDeletebeforereplace(),
      ignoredChanges: request.getIgnorechangesList(),
    });
    return register.call(monitor, request, answer);
  };
  pulumi.runtime.setAllConfig(
    Object.fromEntries(
      Object.entries(config).map(([key, value]) => [
        `wcs-balancer:${key}`,
        typeof value === "string" ? value : JSON.stringify(value),
      ]),
    ),
    secretKeys.map((key) => `wcs-balancer:${key}`),
  );
  // The SDK keeps the stack trace of every promise for a debugger, which takes a third of the time.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  // The stack would report an error of the program as one that nobody handles.
  let exported: Record<string, unknown> = {};
  let failure: unknown;
  await pulumi.runtime.runInPulumiStack(async () => {
    pulumi.runtime.registerStackTransformation(({ type, name, opts }) => {
      if (opts.protect) protectedResources.push(`${type} ${name}`);
      return undefined;
    });
    try {
      // The query makes it a module that was not loaded yet: the program runs again, with what it imports as it is.
      exported = await import(/* @vite-ignore */ `${program}?run=${++runs}`);
    } catch (error) {
      failure = error;
    }
  });
  await pulumi.runtime.disconnect();
  Error.stackTraceLimit = stackTraceLimit;
  if (failure) throw new ProgramError(failure, resources);
  return { resources, registrations, protectedResources: protectedResources.sort(), outputs: exported };
}

/** The value of an output, and whether it is a secret. */
export function resolveOutput<T>(output: unknown): Promise<{ value: T; secret: boolean }> {
  const wrapped = pulumi.output(output) as pulumi.Output<T> & { isSecret: Promise<boolean> };
  return new Promise((resolve) => {
    wrapped.apply(async (value) => {
      resolve({ value, secret: await wrapped.isSecret });
    });
  });
}
