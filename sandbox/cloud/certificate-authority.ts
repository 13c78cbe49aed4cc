import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { request } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as addresses from "../addresses";
import { newKeys, pemOf, readKeys, signServer, x509 } from "../certificates";
import { cached, type SandboxPaths } from "../paths";
import { builtPebble, pebbleIsReady } from "../pebble";
import type { DirectoryFault } from "./client";
import { endCgroup, inCgroup } from "./machine";

/** The names of Let's Encrypt, the one for trying included. Both lead to the same Pebble. */
export const directoryHosts = ["acme-v02.api.letsencrypt.org", "acme-staging-v02.api.letsencrypt.org"];
const [ownName = ""] = directoryHosts;

const port = 14_000;
/** Pebble's own interface for tests, on the internet's loopback only. It gives the root certificate at `/roots/0`. */
const managementPort = 15_000;
const startSeconds = 10;
const certificateHours = 24 * 90;
const slowMilliseconds = 60_000;

const day = 24 * 3600;

/** Let's Encrypt's profiles, and one for trying a renewal. */
const profiles = {
  classic: { description: "Let's Encrypt's profile of this name", validityPeriod: 90 * day },
  tlsserver: { description: "Let's Encrypt's profile of this name", validityPeriod: 45 * day },
  shortlived: { description: "Let's Encrypt's profile of this name", validityPeriod: 160 * 3600 },
  minutes: { description: "the sandbox's own, to see a renewal", validityPeriod: 120 },
};

/** Pebble names some of its resources differently. Clients learn all other names from the directory. */
const pathInPebble: Record<string, string> = { "/directory": "/dir" };
const newOrderPath = "/order-plz";

/**
 * Let's Encrypt as the sandbox plays it: Pebble, a process on the sandbox's internet, from where it asks port 80 of the
 * names that it certifies. It starts when a client first needs it, and starts anew after a crash at the next request. It
 * forgets its accounts then, and gets another root.
 */
export class CertificateAuthority {
  private ready: Promise<ChildProcess> | undefined;

  constructor(private readonly paths: SandboxPaths) {}

  /** Passes a request on to Pebble. */
  async answer(request: IncomingMessage, response: ServerResponse, fault?: DirectoryFault): Promise<void> {
    try {
      if (fault !== undefined && (await answerFault(request, response, fault))) return;
      await this.start();
      await passOn(request, response);
    } catch (error) {
      console.error(`Let's Encrypt's stand-in: ${(error as Error).message}`);
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end();
    }
  }

  /** Starts Pebble unless it runs, and waits until it listens. */
  private async start(): Promise<void> {
    this.ready ??= this.launch();
    try {
      await this.ready;
    } catch (error) {
      this.ready = undefined;
      throw error;
    }
  }

  private async launch(): Promise<ChildProcess> {
    if (!pebbleIsReady()) throw new Error("Pebble is not built; `npm run sandbox -- up` with acme builds it");
    const configuration = await this.writeConfiguration();
    const cgroup = join(this.paths.cgroup, "pebble");
    endCgroup(cgroup);
    const [command = "", ...args] = inCgroup(cgroup, [
      "nsenter",
      `--net=/run/netns/${this.paths.internetNamespace}`,
      builtPebble(),
      "-config",
      configuration,
      "-dnsserver",
      `${addresses.internetGateway}:53`,
    ]);
    const log = openSync(join(this.paths.state, "pebble.log"), "a");
    // Without pauses before it asks a name. It refuses some nonces without a reason, as it does by default.
    const env = { ...process.env, PEBBLE_VA_NOSLEEP: "1" };
    const child = spawn(command, args, { stdio: ["ignore", log, log], env });
    closeSync(log);
    child.on("exit", () => {
      this.ready = undefined;
    });
    const deadline = Date.now() + startSeconds * 1000;
    while (!(await listens())) {
      if (child.exitCode !== null) throw new Error("Pebble has ended, see pebble.log");
      if (Date.now() > deadline) throw new Error(`Pebble does not listen within ${startSeconds} s`);
      await sleep(50);
    }
    return child;
  }

  /** Writes Pebble's configuration and a certificate for the name at which clients know it. */
  private async writeConfiguration(): Promise<string> {
    const folder = join(this.paths.state, "pebble");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { keys, pem } = await newKeys();
    const certificate = await signServer({
      publicKey: keys.publicKey,
      commonName: ownName,
      dnsNames: [ownName, "localhost"],
      hours: certificateHours,
      authority: new x509.X509Certificate(readFileSync(cached.authorityCertificate, "utf8")),
      authorityKeys: await readKeys(readFileSync(cached.authorityKey, "utf8")),
    });
    const write = (name: string, text: string) => {
      writeFileSync(join(folder, name), text, { mode: 0o600 });
      return join(folder, name);
    };
    const pebble = {
      listenAddress: `${addresses.certificateAuthority}:${port}`,
      managementListenAddress: `127.0.0.1:${managementPort}`,
      certificate: write("certificate.pem", pemOf(certificate)),
      privateKey: write("key.pem", pem),
      httpPort: 80,
      tlsPort: 443,
      retryAfter: { authz: 1, order: 1 },
      keyAlgorithm: "ecdsa",
      profiles,
    };
    return write("pebble.json", JSON.stringify({ pebble }));
  }
}

function listens(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, addresses.certificateAuthority);
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.once("connect", () => end(true)).once("error", () => end(false));
  });
}

function pathOf({ url = "/" }: IncomingMessage): string {
  return pathInPebble[url] ?? url;
}

/** Pebble makes its URLs from the host that the client has named. */
function passOn(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: addresses.certificateAuthority,
        port,
        servername: ownName,
        ca: readFileSync(cached.authorityCertificate),
        method: incoming.method,
        path: pathOf(incoming),
        headers: incoming.headers,
        agent: false,
      },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
        answer.on("end", resolve).on("error", reject);
      },
    );
    outgoing.on("error", reject);
    incoming.pipe(outgoing);
  });
}

/** Answers like a directory with a fault. Returns whether the request needs no further answer. */
async function answerFault(
  request: IncomingMessage,
  response: ServerResponse,
  fault: DirectoryFault,
): Promise<boolean> {
  if (fault === "away") {
    request.socket.destroy();
    return true;
  }
  if (fault === "slow") {
    await sleep(slowMilliseconds, undefined, { ref: false });
    return false;
  }
  if (fault === "nonsense") {
    response.writeHead(200, { "Content-Type": "text/html" }).end("<html><h1>Welcome</h1></html>");
    return true;
  }
  if (pathOf(request) !== newOrderPath) return false;
  const problem = {
    type: "urn:ietf:params:acme:error:rateLimited",
    detail: "too many new orders recently",
    status: 429,
  };
  response
    .writeHead(429, {
      "Content-Type": "application/problem+json",
      "Retry-After": String(fault.retryAfterSeconds),
    })
    .end(JSON.stringify(problem));
  return true;
}
