import type * as pulumi from "@pulumi/pulumi";
import type { ClientPaths } from "../cluster/entry";
import { DnsRecord, type DnsRecordArgs } from "./dns-record";
import { Rollout, type RolloutArgs } from "./rollout";

export interface SwitchOverArgs {
  paths: ClientPaths;
  /** @default `pulumi up` does not wait */
  rollout?: RolloutArgs;
  /** @default the record is made by hand */
  record?: DnsRecordArgs;
  /** Resources that must exist before the wait for the rollout begins. */
  dependsOn: pulumi.Resource[];
}

/**
 * Makes the rollout and the DNS record, in the order that a move from one way of clients to the other needs. With both
 * ways, the record gets a new way's addresses after the rollout, when they serve. With one way, it loses the addresses
 * of the other before the rollout, which waits until no new clients come by them; but not before the balancers serve.
 */
export function switchOver({ paths, rollout, record, dependsOn }: SwitchOverArgs): void {
  const makeRecord = (after: pulumi.Resource[]) =>
    record ? [new DnsRecord("domain", record, { dependsOn: after })] : [];
  const waiting = rollout && { ...rollout, makesRecord: record !== undefined };
  const makeRollout = (name: string, after: pulumi.Resource[], until?: "serving") =>
    waiting ? [new Rollout(name, { ...waiting, until }, { dependsOn: [...dependsOn, ...after] })] : [];
  if (paths.address && paths.loadBalancer) {
    makeRecord(makeRollout("rollout", []));
    return;
  }
  // The move of the Elastic IP already waits until the balancer serves.
  const serving = record && !paths.address ? makeRollout("serving", [], "serving") : [];
  makeRollout("rollout", makeRecord(serving));
}
