import { existsSync } from "node:fs";
import { request } from "node:http";
import { nameOption, type SandboxPaths } from "../paths";
import type { Caller } from "./caller";

export interface MachineStatus {
  id: string;
  name: string;
  /** Process id of the machine's systemd; none while it boots or is stopped. */
  leader?: number;
  privateAddress: string;
  publicAddress?: string;
  state: string;
}

/** What S3 does to a machine that asks for an object: drop the connection, know nothing of it, change a byte of it. */
export type ObjectFault = "away" | "gone" | "corrupt";

/** What is broken. Machines are meant by their names, such as `wcs-3`, so that the others go on. */
export interface Faults {
  /** Systems Manager: every connection is dropped, or each value comes cut in half. */
  ssm?: "away" | "half";
  /** The metadata service: every connection is dropped, or EC2 has no credentials for any role, and says so. */
  metadata?: "away" | "no credentials";
  /**
   * S3, by the name of the machine that asks. `away`: the connection is dropped. `gone`: as if the object did not exist
   * (AccessDenied for a role that may not list the bucket). `corrupt`: the first byte is another one.
   */
  objects?: Record<string, ObjectFault>;
  /**
   * IAM takes so long to make rights known: what a role may do counts only so many seconds after the role was made and
   * its policy was made or changed. Until then SSM and S3 refuse.
   */
  roleDelaySeconds?: number;
  /**
   * Machines whose disk is full for their set-up, by name: `/var/lib/wcs-setup` has room for 16 KB in each that starts
   * while this is set, until it stops. To make room on the machine: `mount -o remount,size=1g /var/lib/wcs-setup`
   */
  fullDisks?: string[];
}

/** What the sandbox's cloud can be asked; the answers' types by method. */
export interface CloudMethods {
  ping: { args: Record<string, never>; result: { pid: number } };
  create: {
    args: { kind: string; inputs: Record<string, unknown>; caller?: Caller };
    result: { id: string; outputs: Record<string, unknown> };
  };
  update: {
    args: { kind: string; id: string; inputs: Record<string, unknown>; caller?: Caller };
    result: Record<string, unknown>;
  };
  remove: { args: { kind: string; id: string; caller?: Caller }; result: undefined };
  /** What a resource is like now; nothing when it is gone. */
  read: {
    args: { kind: string; id: string; caller?: Caller };
    result: { inputs: Record<string, unknown>; outputs: Record<string, unknown> } | undefined;
  };
  /** Puts a managed policy into the account, as whoever administers it does. */
  putManagedPolicy: { args: { arn: string; document: string }; result: undefined };
  stopInstance: { args: { id: string }; result: undefined };
  startInstance: { args: { id: string }; result: undefined };
  /** Shuts the machines down, and writes what the cloud knows into the sandbox's folder. */
  hibernate: { args: Record<string, never>; result: undefined };
  machines: { args: Record<string, never>; result: MachineStatus[] };
  /** What is wrong with a service, until it is called again with other values. */
  setFaults: { args: Faults; result: undefined };
}

/** Talks to the cloud of a sandbox over its socket, from whatever network namespace. */
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
   * A machine by its name or instance id.
   * @throws Error that names the machines there are
   */
  async machine(name: string | undefined): Promise<MachineStatus> {
    const machines = await this.call("machines", {});
    const found = machines.find((machine) => machine.name === name || machine.id === name);
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
