import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server } from "node:net";
import { type Answer, decode, encode, RECURSION_AVAILABLE } from "dns-packet";
import * as ipaddr from "ipaddr.js";

/** The answer for an unknown name (NXDOMAIN). */
const noSuchName = 3;

const types: Record<string, "A" | "AAAA"> = { ipv4: "A", ipv6: "AAAA" };

type AddressesOf = (name: string) => string[];

/** The answer to a DNS message; nothing for one that asks nothing. */
export function answerDns(message: Buffer, addressesOf: AddressesOf): Buffer | undefined {
  const query = decode(message);
  const [question] = query.questions ?? [];
  if (!question) return undefined;
  const { name } = question;
  const addresses = addressesOf(name.toLowerCase());
  const answers = addresses
    .map((data): Answer => ({ type: types[ipaddr.parse(data).kind()] ?? "A", name, ttl: 5, data }))
    .filter(({ type }) => type === question.type);
  const flags = RECURSION_AVAILABLE | (addresses.length > 0 ? 0 : noSuchName);
  return encode({ type: "response", id: query.id, flags, questions: query.questions, answers });
}

/** A resolver that knows only the names of the sandbox. */
export function dnsServer(addressesOf: AddressesOf): UdpSocket {
  const socket = createSocket("udp4");
  socket.on("message", (message, client) => {
    const answer = answerDns(message, addressesOf);
    if (answer) socket.send(answer, client.port, client.address);
  });
  return socket;
}

/** The resolver over TCP, as Pebble asks. */
export function dnsServerOverTcp(addressesOf: AddressesOf): Server {
  return createServer((socket) => {
    let received = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (part) => {
      received = Buffer.concat([received, part]);
      // A length, then the message. More may follow.
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const end = 2 + received.readUInt16BE(0);
        const answer = answerDns(received.subarray(2, end), addressesOf);
        if (answer) socket.write(Buffer.concat([lengthOf(answer), answer]));
        received = received.subarray(end);
      }
    });
  });
}

function lengthOf(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return length;
}
