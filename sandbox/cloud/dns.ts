import { createSocket, type Socket } from "node:dgram";
import { decode, encode, RECURSION_AVAILABLE } from "dns-packet";

const refusedCode = 3; // NXDOMAIN

/** The VPC's resolver: knows the names that the sandbox plays and no others. */
export function dnsServer(addressOf: (name: string) => string | undefined): Socket {
  const socket = createSocket("udp4");
  socket.on("message", (message, client) => {
    const query = decode(message);
    const [question] = query.questions ?? [];
    if (!question) return;
    const address = addressOf(question.name.toLowerCase());
    const answer = encode({
      type: "response",
      id: query.id,
      flags: RECURSION_AVAILABLE | (address ? 0 : refusedCode),
      questions: query.questions,
      answers:
        address && question.type === "A" ? [{ type: "A", name: question.name, ttl: 5, data: address }] : [],
    });
    socket.send(answer, client.port, client.address);
  });
  return socket;
}
