import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect } from "node:net";
import { decode, encode } from "dns-packet";
import { describe, expect, test } from "vitest";
import { answerDns, dnsServerOverTcp } from "../../sandbox/cloud/dns";
import { parseDns } from "../../sandbox/dns";

const addressesOf = (name: string) => (name === "wcs.example.com" ? ["203.0.113.10", "2001:db8::1"] : []);

const query = (name: string, type: "A" | "AAAA" | "TXT", id = 7) =>
  encode({ type: "query", id, questions: [{ type, name }] });

function answerTo(name: string, type: "A" | "AAAA" | "TXT") {
  const answer = decode(answerDns(query(name, type), addressesOf) ?? Buffer.alloc(0));
  // biome-ignore lint/suspicious/noExplicitAny: the packet's types leave out what each answer has.
  const data = (answer.answers as any[]).map((one) => one.data);
  return { id: answer.id, code: (answer as unknown as { rcode: string }).rcode, data };
}

describe("the sandbox's resolvers", () => {
  test("give the addresses of the kind that is asked for, whatever the letters' case", () => {
    expect(answerTo("WCS.example.com", "A")).toEqual({ id: 7, code: "NOERROR", data: ["203.0.113.10"] });
    expect(answerTo("wcs.example.com", "AAAA").data).toEqual(["2001:db8::1"]);
    expect(answerTo("wcs.example.com", "TXT")).toEqual({ id: 7, code: "NOERROR", data: [] });
  });

  test("do not know other names", () => {
    expect(answerTo("other.example.com", "A")).toEqual({ id: 7, code: "NXDOMAIN", data: [] });
  });

  test("answer over TCP, too: several questions of one connection, however they are cut", async () => {
    const server = dnsServerOverTcp(addressesOf).listen(0, "127.0.0.1");
    await once(server, "listening");
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    const framed = (message: Buffer) => Buffer.concat([Buffer.from([0, message.length]), message]);
    const bytes = Buffer.concat([1, 2].map((id) => framed(query("wcs.example.com", "A", id))));
    let received = Buffer.alloc(0);
    const answers = () => {
      const ids: number[] = [];
      for (let at = 0; at + 2 <= received.length; at += 2 + received.readUInt16BE(at))
        ids.push(received.readUInt16BE(at + 2));
      return ids;
    };
    socket.on("data", (part) => {
      received = Buffer.concat([received, part]);
    });
    socket.write(bytes.subarray(0, 40));
    await once(socket, "data");
    socket.write(bytes.subarray(40));
    await once(socket, "data");
    expect(answers()).toEqual([1, 2]);
    socket.destroy();
    server.close();
  });
});

describe("the command dns", () => {
  test.each([
    ["", false, { kind: "list" }],
    [
      "WCS.Example.com. 203.0.113.10",
      false,
      { kind: "put", name: "wcs.example.com", addresses: ["203.0.113.10"] },
    ],
    [
      "a.example.com 203.0.113.10 2001:db8::1",
      false,
      { kind: "put", name: "a.example.com", addresses: ["203.0.113.10", "2001:db8::1"] },
    ],
    ["a.example.com", true, { kind: "remove", name: "a.example.com" }],
  ])("%s (--remove: %s)", (line, remove, command) => {
    expect(parseDns(line.split(" ").filter(Boolean), remove)).toEqual(command);
  });

  test.each([
    ["", true, "--remove is given without a DOMAIN; write: npm run sandbox -- dns DOMAIN --remove"],
    ["wcs 203.0.113.10", false, 'DOMAIN is "wcs"; it must be a name such as wcs.dev.example.com'],
    [
      "203.0.113.10 a.example.com",
      false,
      'DOMAIN is "203.0.113.10"; it must be a name such as wcs.dev.example.com',
    ],
    [
      "a_b.example.com 203.0.113.10",
      false,
      'DOMAIN is "a_b.example.com"; it must be a name such as wcs.dev.example.com',
    ],
    ["a.example.com 203.0.113", false, 'ADDRESS is "203.0.113"; it must be an IPv4 or IPv6 address'],
    [
      "a.example.com",
      false,
      "ADDRESS is missing; write: npm run sandbox -- dns a.example.com 203.0.113.10, or --remove to remove the records of a.example.com",
    ],
    [
      "a.example.com 203.0.113.10",
      true,
      "--remove is given with 203.0.113.10; it removes all records of a.example.com",
    ],
  ])("%s (--remove: %s) is explained", (line, remove, message) => {
    expect(() => parseDns(line.split(" ").filter(Boolean), remove)).toThrow(message);
  });
});
