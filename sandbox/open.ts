import { httpsPort, nodeStatisticsPort, statisticsPort } from "../cluster/contract";
import { examplePage } from "../cluster/haproxy-config";
import { CloudClient } from "./cloud/client";
import { connectToInternet, forward } from "./forward";
import { nameOption, type SandboxPaths } from "./paths";

/** The balancer's port on localhost, unless the user names another one. */
export const localPort = 8443;

/** Waits for Ctrl-C, or for another signal to end. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
  });
}

/** The address that clients connect to: the first balancer's Elastic IP, or else one of the load balancer. */
async function entryAddress(cloud: CloudClient): Promise<string> {
  const { publicAddress = "", hasElasticIp } = await cloud.machine("balancer");
  if (hasElasticIp) return publicAddress;
  const [loadBalancer] = await cloud.call("loadBalancers", {});
  return loadBalancer?.addresses[0] ?? publicAddress;
}

async function openBalancer(paths: SandboxPaths, port = localPort): Promise<void> {
  const cloud = new CloudClient(paths);
  const close = await forward(port, {
    namespace: cloud.internetNamespace,
    host: await entryAddress(cloud),
    port: httpsPort,
  });
  try {
    const disconnect = connectToInternet(paths);
    console.log(`https://localhost:${port} is the balancer now, until Ctrl-C. The guide's test:

  1. Open https://localhost:${port}${examplePage}
     The browser warns of the certificate, which the stack's own CA has signed for another name. Accept it
     (Advanced, Proceed to localhost).
  2. Click Connect, without changing the address wss://localhost:${port}. ESTABLISHED appears.
  3. Click Publish and allow the camera. PUBLISHING appears, and your picture on the left.
  4. Click Play. PLAYING appears, and the same picture on the right, which comes from a node.
  5. See the stream and your session on one of the nodes, in another terminal:
       npm run sandbox --${nameOption(paths)} open wcs-1

The browser has to run on this machine: media goes directly to the nodes.`);
    await interrupted();
    disconnect();
  } finally {
    close();
  }
}

/** Opens a page that only the machine itself can reach. */
async function openLocal(
  paths: SandboxPaths,
  machine: string,
  page: { scheme: string; port: number; title: string },
  port = page.port,
): Promise<void> {
  const { leader, state } = await new CloudClient(paths).machine(machine);
  if (!leader) throw new Error(`${machine} is ${state} and has no processes yet`);
  const namespace = `/proc/${leader}/ns/net`;
  const close = await forward(port, { namespace, host: "127.0.0.1", port: page.port });
  console.log(`${page.scheme}://localhost:${port} is ${page.title}, until Ctrl-C.`);
  await interrupted();
  close();
}

/** Makes a page of the sandbox reachable for this machine's own browser, until Ctrl-C. */
export function open(paths: SandboxPaths, name = "balancer", port?: number): Promise<void> {
  switch (name) {
    case "balancer":
      return openBalancer(paths, port);
    case "statistics":
      return openLocal(
        paths,
        "balancer",
        { scheme: "https", port: statisticsPort, title: "HAProxy's statistics page" },
        port,
      );
    default:
      return openLocal(
        paths,
        name,
        { scheme: "http", port: nodeStatisticsPort, title: `the statistics page of ${name}` },
        port,
      );
  }
}
