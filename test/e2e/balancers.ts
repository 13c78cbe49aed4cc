import { expect } from "vitest";
import { clusterPath, statusPort, statusTokenFile } from "../../cluster/contract";
import { type ClusterStatus, parseCluster, parseStatus, type Status } from "../../cluster/status";
import { cloud, eventually, onMachine, type Running } from "./cluster";

/** Ids of the balancers that there are, in the order in which they were made: while one is replaced there are two. */
export async function balancerIds(): Promise<string[]> {
  return (await cloud.call("machines", {}))
    .filter(({ name }) => name.startsWith("balancer"))
    .map(({ id }) => id);
}

/** Ids of the nodes that there are. */
export async function nodeIds(): Promise<string[]> {
  const machines = await cloud.call("machines", {});
  return machines.filter(({ name }) => name.startsWith("wcs-")).map(({ id }) => id);
}

/** The load balancer's address in its first zone. */
export async function loadBalancerAddress(): Promise<string> {
  const [loadBalancer] = await cloud.call("loadBalancers", {});
  const address = loadBalancer?.addresses[0];
  if (!address) throw new Error("there is no load balancer");
  return address;
}

/** What a balancer tells its own machine, whoever has the Elastic IP. */
export async function bodyOnMachine(id: string, path = "/"): Promise<string> {
  const token = `$(cat ${statusTokenFile})`;
  const { output } = await onMachine(
    id,
    `curl --silent --max-time 5 --header "Authorization: Bearer ${token}" http://127.0.0.1:${statusPort}${path}`,
  );
  return output;
}

/** The same as a status of this version. */
export async function statusOn(id: string): Promise<Status> {
  return parseStatus(await bodyOnMachine(id));
}

/** What it says of all balancers. */
export async function clusterOn(id: string): Promise<ClusterStatus> {
  return parseCluster(await bodyOnMachine(id, clusterPath));
}

/**
 * Makes the document unreadable behind Pulumi's back, as soon as an `up` has written it; gives what puts it right.
 * @param up a running `up` that changes the document
 */
export async function spoilDocument(up: Running): Promise<() => Promise<void>> {
  await eventually(() => expect(up.output).toContain("desired-state-document updated"), 180);
  const document = { kind: "parameter", id: "/wcs-balancer/dev/desired-state" };
  const { inputs } = (await cloud.call("read", document)) ?? {};
  const write = async (insecureValue: unknown) => {
    await cloud.call("update", { ...document, inputs: { ...inputs, insecureValue } });
  };
  await write("no document");
  return () => write(inputs?.insecureValue);
}
