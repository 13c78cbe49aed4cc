import { expect, test } from "vitest";
import { config, inLab, readKept } from "./sync-lab";

test("balancers get and renew certificates by ACME, whatever goes wrong", async () => {
  const withAcme = config([1, 2], { acme: { email: "operations@example.com" } });
  const { promises, statuses } = readKept(await inLab("sync_acme.py", [withAcme, config([1, 2])]));
  expect(new Set(statuses.map(({ acme }) => acme?.state))).toEqual(new Set(["waiting", "issued", undefined]));
  expect(promises).toEqual([
    "until DNS leads here the stack's own certificate serves, and the reason names each wrong address",
    "when DNS is right the certificate comes by itself, without a reload, and its renewal is planned",
    "a new service and a new HAProxy without AWS serve the same, and answer challenges",
    "HSTS is sent only while this machine's authorities vouch for the certificate, also after a reload",
    "a renewal has a new key, keeps every open socket, and the next handshake gets it",
    "a directory that is away, slow, busy, refuses with Retry-After or talks nonsense: the old one serves on",
    "an answer that comes byte by byte and never ends is cut off at a deadline, and the next try comes by itself",
    "dead addresses of the directory cost no more than its deadline, and an order that does not begin leaves no thread",
    "a challenge that the directory cannot reach is named with its words, and a wrong clock orders nothing",
    "another contact is told to the directory with the next order",
    "a deactivated account is named with what to do, and a new key comes into force by itself",
    "without a ledger that can be written nothing is ordered, and a result waits for it, over a restart",
    "when a balancer dies in the middle another one takes its turn, and so does it itself when it is back",
    "of two balancers that want to order at the same moment one does",
    "a ledger that cannot be read is named, nothing is ordered, and the last certificate serves on",
    "when the ledger was emptied the status says so, the last certificate serves on, and another one is ordered",
    "a renewal comes into force also beside a document that HAProxy refuses",
    "another profile is ordered while the old one serves; from ACME to a user's certificate and back",
    "a user-supplied certificate that browsers trust serves on until the first one by ACME has come",
  ]);
}, 1_100_000);
