import { existsSync } from "node:fs";
import { request } from "node:http";
import { nameOption, type SandboxPaths } from "../paths";
import type { ResourceMethods } from "../provider/resource-type";

export interface MachineStatus {
  id: string;
  name: string;
  /** Process id of the machine's systemd; undefined while the machine boots or is stopped. */
  leader?: number;
  privateAddress: string;
  publicAddress?: string;
  /** Whether the public address is an Elastic IP. Otherwise it is an automatic one. */
  hasElasticIp: boolean;
  state: string;
}

/** A load balancer of a stack. */
export interface LoadBalancerStatus {
  name: string;
  /** One address in each of its zones. */
  addresses: string[];
}

/**
 * Finds a machine by its name or instance id; `balancer` is the first balancer. While a machine is being replaced, two
 * machines have its name. Then the name means the one with the Elastic IP, or else the newest one that runs.
 * @param machines in the order in which they were launched
 */
export function findMachine(machines: MachineStatus[], name: string | undefined): MachineStatus | undefined {
  // Versions with only one balancer called it so.
  const names = name === "balancer" ? ["balancer", "balancer-1"] : [name];
  const named = machines.filter((machine) => names.includes(machine.name));
  return (
    machines.find(({ id }) => id === name) ??
    named.find(({ hasElasticIp }) => hasElasticIp) ??
    named.findLast(({ state }) => state === "running") ??
    named.at(-1)
  );
}

/**
 * A fault of S3 when a machine asks for an object: the connection is dropped, the object is missing, a byte is wrong.
 */
export type ObjectFault = "away" | "gone" | "corrupt";

/**
 * A fault of Let's Encrypt: the connection is dropped, each answer takes a minute more, each answer is a page of HTML, or
 * new orders are refused for so many seconds.
 */
export type DirectoryFault = "away" | "slow" | "nonsense" | { retryAfterSeconds: number };

/** Faults of the cloud. Some are for machines by their names, such as `wcs-3`; other machines are not affected. */
export interface Faults {
  /** Systems Manager: every connection is dropped, each value is cut in half, or every PutParameter fails. */
  ssm?: "away" | "half" | "read only";
  directory?: DirectoryFault;
  /** The metadata service: every connection is dropped, or it answers that EC2 has no credentials for any role. */
  metadata?: "away" | "no credentials";
  /**
   * S3, by the name of the machine that asks. `away`: the connection is dropped. `gone`: the object does not exist
   * (AccessDenied for a role that may not list the bucket). `corrupt`: the first byte is wrong.
   */
  objects?: Record<string, ObjectFault>;
  /**
   * The delay of IAM: a role's rights are in force only this many seconds after the role or its policy was made or
   * changed. Until then SSM and S3 refuse.
   */
  roleDelaySeconds?: number;
  /**
   * Names of machines with a full disk. When such a machine starts, the folder of its set-up (`setupFolder`) has room for
   * 16 KB until the machine stops. To make room on the machine: `mount -o remount,size=1g FOLDER`
   */
  fullDisks?: string[];
  /**
   * Calls of the program that fail with InternalError, such as `ec2:AssociateAddress`. A change with such a call fails
   * before it has any effect. Look-ups, such as `getVpc`, cannot fail this way.
   */
  failingActions?: string[];
}

/** The methods of the sandbox's cloud, with the types of their arguments and results. */
export interface CloudMethods extends ResourceMethods {
  ping: { args: Record<string, never>; result: { pid: number } };
  /** Puts a managed policy into the account, as an administrator does. */
  putManagedPolicy: { args: { arn: string; document: string }; result: undefined };
  stopInstance: { args: { id: string }; result: undefined };
  startInstance: { args: { id: string }; result: undefined };
  /** Shuts the machines down, and saves the cloud's state in the sandbox's folder. */
  hibernate: { args: Record<string, never>; result: undefined };
  machines: { args: Record<string, never>; result: MachineStatus[] };
  loadBalancers: { args: Record<string, never>; result: LoadBalancerStatus[] };
  /** Makes records of a name on the sandbox's internet, as a person does at a registrar, or replaces them. */
  putRecords: { args: { name: string; addresses: string[] }; result: undefined };
  /** @throws Error that names the existing records */
  removeRecords: { args: { name: string }; result: undefined };
  /** The addresses of each name that a person has made records of. */
  records: { args: Record<string, never>; result: Record<string, string[]> };
  /** Sets the faults of the cloud, until the next call with other values. */
  setFaults: { args: Faults; result: undefined };
}

/** Talks to the cloud of a sandbox over its socket, from any network namespace. */
export class CloudClient {
  readonly internetNamespace: string;

  constructor(private readonly paths: SandboxPaths) {
    this.internetNamespace = `/run/netns/${paths.internetNamespace}`;
  }

  call<Method extends keyof CloudMethods>(
    method: Method,
    args: CloudMethods[Method]["args"],
  ): Promise<CloudMethods[Method]["result"]> {
    return new Promise((resolve, reject) => {
      const call = request(
        { socketPath: this.paths.socket, method: "POST", path: `/${method}`, agent: false },
        (response) => {
          let body = "";
          response.setEncoding("utf8");
          response.on("data", (part: string) => {
            body += part;
          });
          response.on("error", reject);
          response.on("end", () => {
            const answer = JSON.parse(body) as { result?: CloudMethods[Method]["result"]; error?: string };
            if (answer.error !== undefined) reject(new Error(answer.error));
            else resolve(answer.result as CloudMethods[Method]["result"]);
          });
        },
      );
      call.on("error", (error: NodeJS.ErrnoException) =>
        reject(error.code === "ENOENT" || error.code === "ECONNREFUSED" ? new Error(this.whyNotUp()) : error),
      );
      call.end(JSON.stringify(args));
    });
  }

  /**
   * A machine by its name or instance id: see findMachine.
   * @throws Error that names the existing machines
   */
  async machine(name: string | undefined): Promise<MachineStatus> {
    const machines = await this.call("machines", {});
    const found = findMachine(machines, name);
    if (found) return found;
    const names = machines.map((machine) => machine.name).sort();
    throw new Error(
      `there is no machine ${name ?? "without a name"}; there are ${[...names, "internet"].join(", ")}`,
    );
  }

  private whyNotUp(): string {
    const { name, machines } = this.paths;
    const option = nameOption(this.paths);
    const command = (word: string) => `npm run sandbox --${option} ${word}`;
    return existsSync(machines)
      ? `the process that plays the cloud of the sandbox ${name} has ended; remove what is left of it and start anew with: ${command("up")}`
      : `the sandbox ${name} is not up; start it with: ${command("up")}`;
  }

  async isUp(): Promise<boolean> {
    try {
      await this.call("ping", {});
      return true;
    } catch {
      return false;
    }
  }
}
