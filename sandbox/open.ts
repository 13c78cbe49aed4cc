import { examplePage } from "../userdata/balancer";
import { CloudClient } from "./cloud/client";
import { connectToInternet, forward } from "./forward";
import { nameOption, type SandboxPaths } from "./paths";

/** Waits for Ctrl-C, or for whoever started this to end it. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
  });
}

async function openBalancer(paths: SandboxPaths, port = 8443): Promise<void> {
  const cloud = new CloudClient(paths);
  const { publicAddress = "" } = await cloud.machine("balancer");
  const close = await forward(port, { namespace: cloud.internetNamespace, host: publicAddress, port: 443 });
  try {
    const disconnect = connectToInternet(paths);
    console.log(`https://localhost:${port} is the balancer now, until Ctrl-C. The guide's test:

  1. Open https://localhost:${port}${examplePage}
     The browser warns of the certificate, which the stack's own CA has signed for another name: accept it
     (Advanced, Proceed to localhost).
  2. Click Connect. ESTABLISHED appears; the address wss://localhost:${port} stays as it is.
  3. Click Publish and allow the camera. PUBLISHING appears, and your picture on the left.
  4. Click Play. PLAYING appears, and the same picture on the right, by way of a node.
  5. See the stream and your session on one of the nodes, in another terminal:
       npm run sandbox --${nameOption(paths)} open wcs-1

The browser has to run on this machine: media goes to the nodes themselves.`);
    await interrupted();
    disconnect();
  } finally {
    close();
  }
}

/** A page that answers only on the machine itself. */
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

/** Makes a page of the sandbox reachable from this machine's own browser, until it is interrupted. */
export function open(paths: SandboxPaths, name = "balancer", port?: number): Promise<void> {
  switch (name) {
    case "balancer":
      return openBalancer(paths, port);
    case "statistics":
      return openLocal(
        paths,
        "balancer",
        { scheme: "https", port: 8404, title: "HAProxy's statistics page" },
        port,
      );
    default:
      return openLocal(
        paths,
        name,
        { scheme: "http", port: 8081, title: `the statistics page of ${name}` },
        port,
      );
  }
}
