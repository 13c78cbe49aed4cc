/** Started by agent-lab.ts in a network namespace of its own: plays WCS, runs the agent, prints the answers. */
import { spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { run } from "../../sandbox/shell";
import type { Answer, Case, Wcs } from "./agent-lab";

const root = process.argv[2] ?? "";

function respond(wcs: Wcs, socket: Socket): void {
  socket.on("error", () => {});
  if (wcs.kind === "drips") {
    const timer = setInterval(() => socket.write("H"), 1000);
    socket.on("close", () => clearInterval(timer));
  } else if (wcs.kind === "endless") {
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    const part = Buffer.alloc(1024 * 1024, " ");
    const fill = () => {
      while (!socket.destroyed && socket.bytesWritten < 50 * 1024 * 1024 && socket.write(part));
    };
    socket.on("drain", fill);
    fill();
  } else if (wcs.kind === "answers") {
    const { body, status = 200, keepsOpen = false, noLength = false } = wcs;
    const length = noLength ? "" : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
    socket.once("data", () => {
      socket.write(`HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\n${length}\r\n${body}`);
      if (!keepsOpen) socket.end();
    });
  }
}

async function play(wcs: Wcs): Promise<() => Promise<void>> {
  const sockets = new Set<Socket>();
  if (wcs.kind === "refuses") return async () => {};
  if (wcs.kind === "full-backlog") {
    // A server that listens and never accepts, like a JVM that hangs, until the kernel lets nobody in.
    const hung = spawn("python3", [
      "-c",
      "import socket,time\ns=socket.socket();s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\ns.bind(('127.0.0.1',8081));s.listen(0);print('up',flush=True);time.sleep(60)",
    ]);
    await new Promise((resolve) => hung.stdout.once("data", resolve));
    for (let count = 0; count < 8; count++) {
      const filler = connect(8081, "127.0.0.1").on("error", () => {});
      sockets.add(filler);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    return async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => {
        hung.on("close", resolve);
        hung.kill("SIGKILL");
      });
    };
  }
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    respond(wcs, socket);
  });
  await new Promise<void>((resolve) => server.listen(8081, "127.0.0.1", resolve));
  return () =>
    new Promise((resolve) => {
      for (const socket of sockets) socket.destroy();
      server.close(() => resolve());
    });
}

function ask(test: Case): Promise<Answer> {
  const program = test.request === undefined ? "haproxy-agent-check.sh" : "haproxy-agent-check-launch.sh";
  const environment = Object.entries(test.environment ?? {}).map(([name, value]) => `${name}=${value}`);
  const command = [
    "env",
    "-i",
    "PATH=/usr/bin:/bin",
    ...environment,
    `/usr/local/bin/${program}`,
    ...test.args,
  ];
  return new Promise((resolve) => {
    const began = process.hrtime.bigint();
    const agent = spawn("chroot", [root, ...command]);
    let output = "";
    let error = "";
    agent.stdout.setEncoding("utf8").on("data", (part: string) => {
      output += part;
    });
    agent.stderr.setEncoding("utf8").on("data", (part: string) => {
      error += part;
    });
    agent.stdin.on("error", () => {});
    if (test.request === "<leaves>") agent.stdin.end();
    else if (test.request) agent.stdin.write(test.request);
    const late = test.rest === undefined ? undefined : setTimeout(() => agent.stdin.write(test.rest), 300);
    agent.on("close", (status) => {
      clearTimeout(late);
      const seconds = Number(process.hrtime.bigint() - began) / 1e9;
      resolve({ output, error, status, seconds });
    });
  });
}

/** Asks as often at once as the test wants; what differs between the answers is given together. */
async function askAll(test: Case): Promise<Answer> {
  const answers = await Promise.all(Array.from({ length: test.askers ?? 1 }, () => ask(test)));
  const distinct = (part: "output" | "error") => [...new Set(answers.map((answer) => answer[part]))].sort();
  return {
    output: distinct("output").join(""),
    error: distinct("error").join(""),
    status: answers[0]?.status ?? null,
    seconds: Math.max(...answers.map(({ seconds }) => seconds)),
  };
}

/** Also the answer when the stand-in for WCS does not get a processor in time. */
const wcsHangs = "down #WCS hangs: no answer on port 8081\n";
const neverHang: Wcs["kind"][] = ["answers", "endless", "refuses"];

/** In seconds: after that HAProxy would no longer wait. */
const inTime = 1;

const tries = 5;

/** HAProxy's health check, which the launcher answers at once: what it costs here to start anything. */
const noWork: Case = { name: "no work", wcs: { kind: "refuses" }, args: [], request: ";" };

/** Asks again, up to five times, as long as an answer only shows that the machine is busy. */
async function askPatiently(test: Case): Promise<Answer> {
  for (let left = tries; ; left--) {
    const answer = await askAll(test);
    const isLate = answer.seconds >= inTime && test.askers === undefined;
    if (isLate) answer.seconds -= (await ask(noWork)).seconds;
    const isBusy =
      (isLate && answer.seconds >= inTime) ||
      (neverHang.includes(test.wcs.kind) && answer.output === wcsHangs) ||
      (test.restInTime !== undefined && !answer.output.startsWith(test.restInTime));
    if (!isBusy || left === 1) return answer;
  }
}

async function main(): Promise<void> {
  run("ip", ["link", "set", "lo", "up"]);
  const load = join(root, "loadavg");
  writeFileSync(load, "");
  run("mount", ["--bind", load, join(root, "proc/loadavg")]);
  const state = join(root, "var/lib/wcs-setup/state");
  const answers: Answer[] = [];
  for (const test of JSON.parse(readFileSync(join(root, "cases.json"), "utf8")) as Case[]) {
    writeFileSync(load, `${test.load ?? "0.10"} 9.00 9.00 1/100 1000\n`);
    writeFileSync(join(root, "sys/devices/system/cpu/online"), `${test.processors ?? "0-1"}\n`);
    rmSync(state, { force: true });
    if (test.setup) {
      run("mkdir", ["-p", join(state, "..")]);
      writeFileSync(state, test.setup);
    }
    const stop = await play(test.wcs);
    answers.push(await askPatiently(test));
    await stop();
  }
  process.stdout.write(JSON.stringify(answers));
}

main().catch((error: Error) => {
  console.error(error);
  process.exit(1);
});
