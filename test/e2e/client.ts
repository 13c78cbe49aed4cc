import { connect as connectTcp } from "node:net";
import { connect as connectTls, type SecureContext, type SecureContextOptions } from "node:tls";
import { WebSocket } from "ws";
import { run } from "../../sandbox/shell";

/** The facts about the stack `dev` for a client on the sandbox's internet. Without vitest, for other processes. */

export const domain = "wcs.dev.example.com";
export const balancerAddress = "203.0.113.10";
/** Where the tests are. */
export const ownAddress = "198.51.100.10";

/** Headers that ask for a WebSocket. */
export const upgrade = {
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** The same headers as text, for a plain connection. */
export function upgradeRequest(): string {
  const headers = Object.entries({ Host: domain, ...upgrade });
  return `GET / HTTP/1.1\r\n${headers.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
}

/** Sends bytes as they are, on port 80 in clear text and on any other over TLS, and gives what comes until the end. */
export function rawAnswer(port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const target = { host: balancerAddress, port };
    const socket =
      port === 80
        ? connectTcp(target)
        : connectTls({
            ...target,
            servername: domain,
            rejectUnauthorized: false,
            ALPNProtocols: ["http/1.1"],
          });
    let answer = "";
    socket.setEncoding("latin1").on("data", (part: string) => {
      answer += part;
    });
    socket.setTimeout(30_000, () => socket.destroy(new Error(`nothing more within 30 s after: ${answer}`)));
    socket.on("close", () => resolve(answer)).on("error", reject);
    socket.end(bytes);
  });
}

/** The preface of an HTTP/2 client that has not negotiated HTTP/2, and an empty frame of settings. */
export const http2PriorKnowledge = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

export interface Client {
  socket: WebSocket;
  /** Port that this client comes from. */
  localPort: number;
  /** The cookie that the balancer has set, if any. */
  cookie: string;
  close(): Promise<void>;
}

interface SessionOptions {
  /** Which CAs to trust. Many clients of one process should share a context. */
  trust: Pick<SecureContextOptions, "ca"> | { secureContext: SecureContext };
  headers?: Record<string, string>;
  /** Whose client this is, see `clientAddress`. */
  localAddress: string;
  /** Where the balancer is. @default the Elastic IP */
  address?: string;
  /** How long a session may take. */
  patienceSeconds: number;
}

/** Connects a WebSocket through the balancer, verifies the certificate, and gives the session WCS makes of it. */
export function openSession(options: SessionOptions): Promise<Client> {
  const { trust, headers = {}, localAddress, address = balancerAddress, patienceSeconds } = options;
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${domain}/`, {
      ...trust,
      headers,
      localAddress,
      lookup: (_host, options, done) =>
        options.all ? done(null, [{ address, family: 4 }]) : done(null, address, 4),
    });
    let localPort = 0;
    let cookie = "";
    const deadline = setTimeout(() => {
      socket.terminate();
      reject(new Error(`no session within ${patienceSeconds} s`));
    }, patienceSeconds * 1000);
    socket.on("error", reject);
    socket.on("close", () => {
      clearTimeout(deadline);
      reject(new Error("closed before there was a session"));
    });
    socket.on("upgrade", (response) => {
      localPort = response.socket.localPort ?? 0;
      cookie = response.headers["set-cookie"]?.[0] ?? "";
    });
    socket.on("open", () =>
      socket.send(JSON.stringify({ message: "connection", data: [{ appKey: "defaultApp" }] })),
    );
    socket.on("message", (part) => {
      const { message } = JSON.parse(String(part)) as { message: string };
      // As the WebSDK does: WCS closes a socket that leaves ten of these without an answer.
      if (message === "ping") socket.send(JSON.stringify({ message: "pong", data: [] }));
      if (message !== "getUserData") return;
      clearTimeout(deadline);
      resolve({
        socket,
        localPort,
        cookie,
        close: () =>
          new Promise((closed) => {
            socket.on("close", () => closed());
            socket.close();
          }),
      });
    });
  });
}

/** Further addresses of this place, which no other test file uses: 126 of them. */
const furtherNetwork = "198.51.100.128/25";

/**
 * Another client's address: one of its own has maxConnectionsPerAddress connections. From `openSession` and whatever else
 * takes a local address, the balancer sees it as the client's.
 *
 * @param number from 1 to 126
 */
export function clientAddress(number: number): string {
  // The whole network is this machine's, as with an address for each.
  run("ip", ["route", "replace", "local", furtherNetwork, "dev", "lo"]);
  return `198.51.100.${128 + number}`;
}
