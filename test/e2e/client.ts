import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";

/** What a client on the sandbox's internet knows of the stack `dev`. Free of vitest, for processes of the tests' own. */

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

/** The same as text, for a connection of one's own. */
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
    socket.setTimeout(10_000, () => socket.destroy(new Error(`nothing more within 10 s after: ${answer}`)));
    socket.on("close", () => resolve(answer)).on("error", reject);
    socket.end(bytes);
  });
}

/** What a client of HTTP/2 begins with that has not asked whether it is spoken, and an empty frame of settings. */
export const http2PriorKnowledge = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
