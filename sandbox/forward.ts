import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import * as addresses from "./addresses";
import type { SandboxPaths } from "./paths";
import { run, succeeds } from "./shell";

/** A place in the sandbox: an address and port in a network namespace. */
interface Place {
  namespace: string;
  host: string;
  port: number;
}

/**
 * Forwards `port` of this machine's localhost to a place in the sandbox.
 *
 * @returns a function that ends the forwarding
 * @throws Error when the port is in use
 */
export async function forward(port: number, { namespace, ...place }: Place): Promise<() => void> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(port, "127.0.0.1");
  await once(server, "listening").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EADDRINUSE") throw error;
    throw new Error(`port ${port} of this machine is in use; name another one with --port`);
  });
  // A socket stays in the network namespace where it was made: this process accepts, the other one connects.
  const forwarder = spawn(
    "nsenter",
    [
      `--net=${namespace}`,
      process.execPath,
      "--import",
      "tsx",
      join(__dirname, "forwarder.ts"),
      place.host,
      String(place.port),
    ],
    { stdio: ["ignore", "inherit", "inherit", "ipc"] },
  );
  server.on("connection", (socket) => {
    if (forwarder.connected) forwarder.send("connection", socket);
    else socket.destroy();
  });
  return () => {
    server.close();
    if (forwarder.connected) forwarder.disconnect();
  };
}

/** This machine's end of the cable to the sandbox's internet. */
const cable = "wcs-open";

/**
 * Lets this machine's browser send media to the nodes, which a forwarded port cannot carry. Makes a cable to the
 * sandbox's internet, where the browser seems to be behind a router, as at home.
 *
 * @returns a function that removes the cable
 */
export function connectToInternet({ internetNamespace }: SandboxPaths): () => void {
  if (succeeds("ip", ["link", "show", cable])) {
    throw new Error(
      `the network interface ${cable} is there already, so another 'open' runs; end it first. ` +
        `If it was killed: ip link delete ${cable}`,
    );
  }
  for (const network of [addresses.homeNetwork, addresses.publicNetwork]) {
    const routes = run("ip", ["-4", "route", "show", "to", "match", network]).split("\n");
    const taken = routes.find((route) => route !== "" && !route.startsWith("default"));
    if (taken) {
      throw new Error(
        `this machine has a route to ${network} (${taken.trim()}), but 'open' needs that network; remove the route while it runs`,
      );
    }
  }
  const inInternet = (command: string, args: string[], input?: string) =>
    run("nsenter", [`--net=/run/netns/${internetNamespace}`, command, ...args], { input });
  run("ip", ["link", "add", cable, "type", "veth", "peer", "name", "home", "netns", internetNamespace]);
  try {
    // Without an IPv6 address, which would come a second later: browsers load pages again when an address comes.
    succeeds("ip", ["link", "set", cable, "addrgenmode", "none"]);
    run("ip", ["addr", "add", `${addresses.home}/30`, "dev", cable]);
    run("ip", ["link", "set", cable, "up"]);
    inInternet("ip", ["addr", "add", `${addresses.homeRouter}/30`, "dev", "home"]);
    inInternet("ip", ["link", "set", "home", "up"]);
    run("ip", ["route", "add", addresses.publicNetwork, "via", addresses.homeRouter, "dev", cable]);
    inInternet("sysctl", ["--quiet", "--write", "net.ipv4.ip_forward=1"]);
    inInternet(
      "nft",
      ["--file", "-"],
      `table ip home {
}
delete table ip home
table ip home {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr ${addresses.home} oifname wan masquerade
  }
}
`,
    );
  } catch (error) {
    run("ip", ["link", "delete", cable]);
    throw error;
  }
  return () => {
    // This deletes its other end and the route, too.
    run("ip", ["link", "delete", cable]);
    if (succeeds("test", ["-e", `/run/netns/${internetNamespace}`])) {
      inInternet("nft", ["delete", "table", "ip", "home"]);
    }
  };
}
