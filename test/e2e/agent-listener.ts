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

/** Asks the agent of wcs-1 on its machine, which takes a command before; gives what agent-load.py prints. */
async function askAgent(rate: number, seconds: number, before = "", after = ""): Promise<string> {
  const python = `python3 - 127.0.0.1 ${rate} ${seconds} <<'PYTHON'\n${load}\nPYTHON\n`;
  return (await onMachine("wcs-1", before + python + after)).output;
}

/**
 * Expects that every question got an answer. It need not be "up": more questions than a core can answer in time leave WCS,
 * which is asked as often, too busy for some.
 */
function expectAnswers(output: string, answers: number): void {
  const counts = [...output.matchAll(/'(up |down #WCS hangs: no answer on port )': (\d+)/g)];
  expect(
    counts.reduce((sum, [, , count]) => sum + Number(count), 0),
    output,
  ).toBe(answers);
}

/** Seconds until the last answer, as agent-load.py prints them. */
const slowest = (output: string) => Number(output.match(/slowest ([\d.]+) s/)?.[1]);

/** The promises of both listeners. */
export function listenerPromises(): void {
  test(`50 checks a second for ${loadSeconds} s, every one answered`, async () => {
    const output = await askAgent(50, loadSeconds);
    expectAnswers(output, 50 * loadSeconds);
    expect(output).toContain("'up '");
    // The long form is for a machine of which no other test needs the processors.
    if (long) expect(output).toContain(`{'up ': ${50 * loadSeconds}} late 0 `);
    console.log(`50 checks a second: ${output.trim()}`);
  });

  test("a burst does not switch the port off", async () => {
    expectAnswers(await askAgent(burst, 1), burst);
    // Later ones get an answer, too.
    await eventually(async () => {
      const { output: after } = await onMachine("wcs-1", "sleep 3 | telnet localhost 9707");
      expect(after).toMatch(/^up \d+%/m);
    });
  });

  test("a client that sends nothing, or never reads, delays no other one", async () => {
    const idle =
      "import socket,time\ns=[socket.create_connection(('127.0.0.1',9707)) for _ in range(100)]\ntime.sleep(60)";
    // As much work for the processors: each idle client starts an agent, too.
    const withWork = slowest(await askAgent(120, 1));
    const output = await askAgent(10, 2, `python3 -c "${idle}" & sleep 0.2; `, "kill $!");
    expectAnswers(output, 20);
    // A listener that serves one client after the other would have waited 0.2 s for each idle one before.
    expect(slowest(output)).toBeLessThan(10 + 2 * withWork);
  });

  test("an address that is neither of the VPC nor localhost gets no answer", async () => {
    const { privateAddress } = await machine("wcs-1");
    const ask = (address: string) =>
      onMachine("wcs-1", `exec 3<>/dev/tcp/${address}/9707; printf 'cpu 90;' >&3; timeout 10 cat <&3`);
    const answer = /^up \d+%( #[a-z-]+ \d+ of \d+)?\n$/;
    // The security group does not see connections from the node to itself.
    for (const address of ["127.0.0.1", privateAddress])
      await eventually(async () => expect((await ask(address)).output).toMatch(answer));
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
