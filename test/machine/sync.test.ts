import { expect, test } from "vitest";
import { long } from "../long";
import { config, inLab, readKept } from "./sync-lab";

const acme = { email: "operations@example.com" };

test.concurrent.each([
  ["nodes, thresholds and both certificates", config([2, 3], { checks: { cpu: 50 } }), "status"],
  ["a reload", config([2, 3], { algorithm: "first" })],
  ...(long
    ? [
        ["a certificate by ACME and of nodes", config([2, 3], { acme }), "acme"],
        // Only the nodes of this one count.
        ["a document of a newer contract", config([2, 3], { algorithm: "first" }), "newer"],
      ]
    : []),
])(
  "wcs-balancer-sync killed at every step of a change of %s: the next run completes it, no socket is lost",
  async (_, after = "", ...rest) => {
    const before = config([1, 2], rest[0] === "acme" ? { acme } : {});
    expect(await inLab("sync_lab.py", [before, after], ...rest)).toMatch(
      /killed before step 0\n[\s\S]*all \d+ steps\n$/,
    );
  },
  1_100_000,
);

test.concurrent("new nodes die, a worker hangs, HAProxy is dead: clients are served, and the drain waits", async () => {
  const held = await inLab("sync_faults.py", [config([1, 2]), config([3])]);
  expect(held.trim().split("\n")).toEqual([
    expect.stringContaining("held servers serve until the new one has been up for long enough"),
    expect.stringContaining("when every new one is down the old ones take clients again"),
    "a service that was killed meanwhile goes on with it",
    "so does one whose HAProxy was reloaded",
    "an old one that dies itself takes nobody",
    "when a new one is back the old ones drain on, to the deadline that they had",
    "the last resort ends at the deadline of its drain",
    "the status counts the sockets of every worker",
    "a drain waits for a worker that does not answer",
    "a HAProxy that is dead is started, with what it had",
    "the last resort outlives a start of HAProxy",
    "a document of a newer contract changes the servers, nothing else, and no socket is lost",
  ]);
}, 1_100_000);

test.concurrent("the status has its own certificate, and answers from the first moment on", async () => {
  const { promises, statuses } = readKept(await inLab("sync_status.py", [config([1, 2])]));
  expect(statuses.length).toBeGreaterThan(2);
  expect(promises).toEqual([
    "whatever is missing at the first boot is named in the journal",
    "with a certificate of its own the status says why nothing is applied, and nothing else is served",
    "it names the instance to those with the token",
    "so it does when the document is garbage, of another contract or refused, or a secret is missing",
    "it takes over another certificate while there is no document",
    "a HAProxy that dies meanwhile comes back with it",
    "a service that is killed on the way there gets there at the next start",
    "when a state is applied clients get their certificate, and the status its own",
    "whatever certificate clients get, the status answers with its own",
    "another certificate and token come into force without a reload, even beside a document that is refused",
    "a reboot without AWS comes back the same, and a document of an older contract takes no socket",
  ]);
}, 1_100_000);

test.concurrent("a balancer registers with the load balancer, and leaves each way of clients by itself", async () => {
  const { promises, statuses, clusters } = readKept(await inLab("sync_client_paths.py", [config([1, 2])]));
  expect(statuses.length).toBeGreaterThan(5);
  const [all, withoutService] = clusters.map(({ balancers }) =>
    balancers.map(({ name, status, haproxyAnswers }) => [name, status?.instance, haproxyAnswers]),
  );
  expect(all).toEqual([
    ["balancer-1", "i-0123456789abcdef0", false],
    ["balancer-2", undefined, false],
    ["balancer-3", undefined, false],
    [null, undefined, false],
  ]);
  expect(withoutService).toEqual([all?.[0], ["balancer-2", undefined, true], ...(all?.slice(2) ?? [])]);
  expect(promises).toEqual([
    "it registers in every target group before a state is applied, and beside one that is refused",
    "it registers again when it is not registered, and an error of AWS is a warning",
    "it counts the WebSockets of each way of clients, and knows of the last client of each",
    "one that is not named stays a target until every named one is healthy",
    "it serves on until new clients have stopped coming, over a restart and a reload",
    "at the drain time-out it closes the WebSockets of that way alone, and has left",
    "named again, it forgets what it was about to leave, in whatever phase it was",
    "a named one forgets a way when its last WebSocket has ended",
    "so it leaves its own address, and the clients of the load balancer stay",
    "any balancer shows all, with the reason of each that does not answer",
  ]);
}, 1_100_000);

test.concurrent("a hand-over closes every client's socket and refuses new ones, until its time is over", async () => {
  const { promises, statuses } = readKept(await inLab("sync_hand_over.py", [config([1, 2])]));
  expect(new Set(statuses.map(({ handedOver }) => handedOver === null))).toEqual(new Set([true, false]));
  expect(promises).toEqual([
    "without the token, by another method, or for no whole number of seconds nobody is told to go",
    "every client's socket is closed, those of an old worker and a full one included",
    "clients of the load balancer do not notice",
    "new ones get a 503, and the status goes on",
    "asked again, it lasts longer and never shorter, and the answer says how long",
    "neither a reload nor a new HAProxy lets anybody in",
    "what slips through is closed, and HAProxy told again",
    "the status says what HAProxy does, even if the service has forgotten it",
    "it is taken back by one command, also after a reload, and without one nothing changes",
    "clients get in when the time is over, even while the service hangs or is dead",
    "a service that starts meanwhile knows of it",
    "a worker that does not answer is named, and no success claimed",
    "many are closed at once",
  ]);
}, 1_100_000);
