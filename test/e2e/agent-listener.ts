import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";
import { eventually, long, machine, onMachine } from "./cluster";

const load = readFileSync(join(projectRoot, "test/e2e/agent-load.py"), "utf8");

/** How long the load lasts, in seconds. */
const loadSeconds = long ? 60 : 5;

/** Checks within a second: more than the 50 after which xinetd would close a port. */
const burst = long ? 300 : 100;

/** Expects that every question got the answer "up", and in time where no other test needs the processors. */
function expectAnswers(output: string, answers: number): void {
  expect(output).toContain(`{'up ': ${answers}} late ${long ? "0 " : ""}`);
}

/** What both listeners promise. */
export function listenerPromises(): void {
  test(`50 checks a second for ${loadSeconds} s, every one answered`, async () => {
    const { output } = await onMachine(
      "wcs-1",
      `python3 - 127.0.0.1 50 ${loadSeconds} <<'PYTHON'\n${load}\nPYTHON`,
    );
    expectAnswers(output, 50 * loadSeconds);
    console.log(`50 checks a second: ${output.trim()}`);
  });

  test("a burst does not switch the port off", async () => {
    const { output } = await onMachine("wcs-1", `python3 - 127.0.0.1 ${burst} 1 <<'PYTHON'\n${load}\nPYTHON`);
    // More than a core can answer in time: what counts is that each gets an answer, and later ones too.
    expect(output).toContain(`{'up ': ${burst}} late`);
    const { output: after } = await onMachine("wcs-1", "sleep 1 | telnet localhost 9707");
    expect(after).toMatch(/^up \d+%/m);
  });

  test("who connects and sends nothing, or never reads, holds nobody up", async () => {
    const idle =
      "import socket,time\ns=[socket.create_connection(('127.0.0.1',9707)) for _ in range(100)]\ntime.sleep(60)";
    const { output } = await onMachine(
      "wcs-1",
      `python3 -c "${idle}" & sleep 0.2; python3 - 127.0.0.1 10 2 <<'PYTHON'\n${load}\nPYTHON\nkill $!`,
    );
    expectAnswers(output, 20);
  });

  test("an address that is neither a balancer's nor localhost gets no answer", async () => {
    const { privateAddress } = await machine("wcs-1");
    const ask = (address: string) =>
      onMachine("wcs-1", `exec 3<>/dev/tcp/${address}/9707; printf 'cpu 90;' >&3; timeout 2 cat <&3`);
    expect((await ask("127.0.0.1")).output).toMatch(/^up \d+%( #[a-z-]+ \d+ of \d+)?\n$/);
    // From the node's own address, which the security group does not see.
    expect((await ask(privateAddress)).output).not.toMatch(/up|down/);
  });

  test("the agent runs as a user of its own", async () => {
    const look = "ps -eo user:20,args | grep '[h]aproxy-agent-check-launch'";
    await eventually(async () => {
      const { output } = await onMachine("wcs-1", `exec 3<>/dev/tcp/127.0.0.1/9707; sleep 0.1; ${look}`);
      expect(output).toMatch(/^haproxy-agent /);
    });
  });
}
