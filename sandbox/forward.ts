import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import * as addresses from "./addresses";
import type { SandboxPaths } from "./paths";
import { run, succeeds } from "./shell";

/** A place of the sandbox: an address and port, as a network namespace sees them. */
export interface Place {
  namespace: string;
  host: string;
  port: number;
}

/**
 * Makes `port` of this machine's localhost reach a place of the sandbox.
 *
 * @returns what ends it
 * @throws Error when the port is in use
 */
export async function forward(port: number, { namespace, ...place }: Place): Promise<() => void> {
  const server = createServer({ pauseOnConnect: true });
  server.listen(port, "127.0.0.1");
  await once(server, "listening").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EADDRINUSE") throw error;
    throw new Error(`port ${port} of this machine is in use; name another one with --port`);
  });
  // Sockets keep the network they were made in: accepted here, connected onwards there.
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
 * Lets this machine's browser send media to the nodes, which no forwarded port can carry: a cable to the sandbox's
 * internet, in which the browser comes from behind a router, as at home.
 *
 * @returns what takes the cable away
 */
export function connectToInternet({ internetNamespace }: SandboxPaths): () => void {
  if (succeeds("ip", ["link", "show", cable])) {
    throw new Error(
      `the network interface ${cable} is there already: another 'open' runs and has to end first. ` +
        `If one was killed: ip link delete ${cable}`,
    );
  }
  for (const network of [addresses.homeNetwork, addresses.publicNetwork]) {
    const routes = run("ip", ["-4", "route", "show", "to", "match", network]).split("\n");
    const taken = routes.find((route) => route !== "" && !route.startsWith("default"));
    if (taken) {
      throw new Error(
        `this machine uses ${network} itself (${taken.trim()}), which the sandbox's browser would need`,
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
    // Its other end goes with it, and the route.
    run("ip", ["link", "delete", cable]);
    if (succeeds("test", ["-e", `/run/netns/${internetNamespace}`])) {
      inInternet("nft", ["delete", "table", "ip", "home"]);
    }
  };
}
