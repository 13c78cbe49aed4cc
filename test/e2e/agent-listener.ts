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

/** Expects that every question got the answer "up", and got it in time if no other test needs the processors. */
function expectAnswers(output: string, answers: number): void {
  expect(output).toContain(`{'up ': ${answers}} late ${long ? "0 " : ""}`);
}

/** The promises of both listeners. */
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
    // More questions than a core can answer in time: each must get an answer, and so must later ones. WCS, which is asked
    // as often, may be too busy for some.
    const counts = [...output.matchAll(/'(up |down #WCS hangs: no answer on port )': (\d+)/g)];
    expect(
      counts.reduce((sum, [, , count]) => sum + Number(count), 0),
      output,
    ).toBe(burst);
    const { output: after } = await onMachine("wcs-1", "sleep 3 | telnet localhost 9707");
    expect(after).toMatch(/^up \d+%/m);
  });

  test("a client that sends nothing, or never reads, delays no other one", async () => {
    const idle =
      "import socket,time\ns=[socket.create_connection(('127.0.0.1',9707)) for _ in range(100)]\ntime.sleep(60)";
    const { output } = await onMachine(
      "wcs-1",
      `python3 -c "${idle}" & sleep 0.2; python3 - 127.0.0.1 10 2 <<'PYTHON'\n${load}\nPYTHON\nkill $!`,
    );
    expectAnswers(output, 20);
  });

  test("an address that is neither of the VPC nor localhost gets no answer", async () => {
    const { privateAddress } = await machine("wcs-1");
    const ask = (address: string) =>
      onMachine("wcs-1", `exec 3<>/dev/tcp/${address}/9707; printf 'cpu 90;' >&3; timeout 2 cat <&3`);
    const answer = /^up \d+%( #[a-z-]+ \d+ of \d+)?\n$/;
    expect((await ask("127.0.0.1")).output).toMatch(answer);
    // The security group does not see connections from the node to itself.
    expect((await ask(privateAddress)).output).toMatch(answer);
    const foreign = "192.0.2.1";
    await onMachine("wcs-1", `ip address add ${foreign}/32 dev lo`);
    expect((await ask(foreign)).output).not.toMatch(/up|down/);
  });

  test("the agent runs as a user of its own", async () => {
    const look = "ps -eo user:20,args | grep '[h]aproxy-agent-check-launch'";
    await eventually(async () => {
      const { output } = await onMachine("wcs-1", `exec 3<>/dev/tcp/127.0.0.1/9707; sleep 0.1; ${look}`);
      expect(output).toMatch(/^haproxy-agent /);
    });
  });
}
