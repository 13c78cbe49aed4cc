import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { describeRemains } from "../../sandbox/lifecycle";
import { withCacheLock } from "../../sandbox/lock";
import { projectRoot, sandboxPaths } from "../../sandbox/paths";
import { run } from "../../sandbox/shell";

/** The sandbox's command in another situation; gives what a user sees. */
function sandbox(options: { preload?: string; env?: NodeJS.ProcessEnv; args?: string[] }) {
  const preload = options.preload ? ["--import", `data:text/javascript,${options.preload}`] : [];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [...preload, "--import", "tsx", "sandbox/cli.ts", ...(options.args ?? []), "--name", "refused"],
    { cwd: projectRoot, encoding: "utf8", env: { ...process.env, ...options.env } },
  );
  return { status, output: `${stdout}${stderr}`.trim() };
}

test("without root it says so in one line", () => {
  expect(sandbox({ preload: "process.getuid=()=>1000" })).toEqual({
    status: 1,
    output: "sandbox: the sandbox needs root: it boots machines and makes networks",
  });
});

test("on another system it says so in one line", () => {
  expect(sandbox({ preload: 'Object.defineProperty(process,"platform",{value:"darwin"})' })).toEqual({
    status: 1,
    output: "sandbox: the sandbox needs Linux, and this is darwin; npm run test:unit runs everywhere",
  });
});

test("without space it says so in one line, with the folder and the need", () => {
  const folder = mkdtempSync(join(tmpdir(), "wcs-small-"));
  run("mount", ["-t", "tmpfs", "-o", "size=10m", "tmpfs", folder]);
  try {
    const { status, output } = sandbox({ env: { WCS_SANDBOX_CACHE: folder } });
    expect(status).toBe(1);
    expect(output).toBe(
      `sandbox: ${folder} has 0.0 GB free, and the sandbox needs 6 GB; make room, or set WCS_SANDBOX_CACHE to a folder on another disk`,
    );
  } finally {
    run("umount", [folder]);
    rmSync(folder, { recursive: true });
  }
});

test.each([
  [
    ["shell", "wcs-1", "ls"],
    "sandbox: --name stands behind the command ls, and would go to that; to name the sandbox write: npm run sandbox -- --name NAME shell wcs-1 ls ...; to give it to ls write: npm run sandbox -- shell wcs-1 -- ls ...",
  ],
  [
    ["up", "--clear-pending-creates"],
    "sandbox: --clear-pending-creates is given with up; it can be given only with refresh",
  ],
  [
    ["status", "--nodes", "3"],
    "sandbox: --nodes is given with status; it can be given only with up and preview",
  ],
  [["up", "--remove"], "sandbox: --remove is given with up; it can be given only with dns"],
  [["dns", "wcs.example.com", "here"], 'sandbox: ADDRESS is "here"; it must be an IPv4 or IPv6 address'],
  [["fly"], 'sandbox: there is no command "fly"; see: npm run sandbox -- help'],
  [["up", "--nodes", "none"], 'sandbox: --nodes is "none"; it must be a number from 1 on'],
  [["up", "--config", "cpu"], 'sandbox: --config is "cpu"; it must be KEY=VALUE'],
  [["status"], "sandbox: the sandbox refused is not up; start it with: npm run sandbox -- --name refused up"],
  [["preview", "--stack", "nope"], "sandbox: there is no Pulumi.nope.yaml"],
])("%s is explained", (args, message) => {
  expect(sandbox({ args })).toEqual({ status: 1, output: message });
});

test("a sandbox whose cloud was killed is explained, with the command that removes its machines", () => {
  const { state, machines } = sandboxPaths("refused");
  mkdirSync(join(machines, "i-0a1b2c3d"), { recursive: true });
  try {
    expect(sandbox({ args: ["status"] })).toEqual({
      status: 1,
      output:
        "sandbox: the process that plays the cloud of the sandbox refused has ended; remove what is left of it and start anew with: npm run sandbox -- --name refused up",
    });
    expect(describeRemains(sandboxPaths("refused"))).toBe(
      "The process that plays the cloud of the sandbox refused has ended. To start anew, this removes the machines i-0a1b2c3d with their disks, and the state of the stacks.",
    );
    expect(sandbox({ args: ["down"] }).output).toMatch(/^The sandbox is removed/);
    expect(describeRemains(sandboxPaths("refused"))).toBeUndefined();
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
});

test("a sandbox that npm test would remove is refused", () => {
  const args = ["up", "--name", "testnone"];
  const { status, stderr } = spawnSync(process.execPath, ["--import", "tsx", "sandbox/cli.ts", ...args], {
    cwd: projectRoot,
    encoding: "utf8",
    env: { ...process.env, WCS_TEST_RESULTS: "" },
  });
  expect(stderr).toBe(
    'sandbox: --name is "testnone"; names that begin with test are for npm test, which removes such sandboxes\n',
  );
  expect(status).toBe(1);
});

test("a signal to a command that runs under a lock ends it, and gives the lock back", async () => {
  const folder = mkdtempSync(join(tmpdir(), "wcs-lock-"));
  const script = join(folder, "locked.ts");
  writeFileSync(
    script,
    `import { underLock } from "${projectRoot}/sandbox/lock";
const use = () => {
  process.on("SIGTERM", () => process.exit(7));
  return new Promise<number>(() => setInterval(() => console.log("locked"), 50));
};
underLock("signal", "busy", use).then(
  (status) => { process.exitCode = status; },
  (error) => { console.log(error.message); process.exitCode = 1; },
);
`,
  );
  const start = () =>
    spawn(process.execPath, ["--import", "tsx", script], {
      cwd: projectRoot,
      env: { ...process.env, WCS_SANDBOX_CACHE: folder },
      stdio: ["ignore", "pipe", "inherit"],
    });
  try {
    const first = start();
    await once(first.stdout, "data");
    const second = start();
    expect(String((await once(second.stdout, "data"))[0])).toMatch(/^busy; try again/);
    first.kill("SIGTERM");
    expect((await once(first, "close"))[0]).toBe(7);
    const third = start();
    expect(String((await once(third.stdout, "data"))[0])).toBe("locked\n");
    third.kill("SIGTERM");
    await once(third, "close");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("help lists the commands", () => {
  const { status, output } = sandbox({ args: ["help"] });
  expect(status).toBe(0);
  for (const command of ["up", "preview", "refresh", "status", "shell NAME", "logs NAME", "down"])
    expect(output).toContain(`  ${command}`);
});

test("two commands do not change the cache at the same time", async () => {
  const events: string[] = [];
  const change = (name: string) =>
    withCacheLock(async () => {
      events.push(`${name} begins`);
      await once(spawn("sleep", ["0.2"]), "close");
      events.push(`${name} ends`);
    });
  await Promise.all([change("one"), change("other")]);
  const [first, second] = events[0] === "one begins" ? ["one", "other"] : ["other", "one"];
  expect(events).toEqual([`${first} begins`, `${first} ends`, `${second} begins`, `${second} ends`]);
});

test("a command that fails lets the next one change the cache", async () => {
  const failing = withCacheLock(() => Promise.reject(new Error("no network")));
  await expect(failing).rejects.toThrow("no network");
  expect(await withCacheLock(async () => "changed")).toBe("changed");
});

test("a command goes on when nobody reads what it prints", () => {
  // The reader has ended before the command prints.
  const command = `{ sleep 0.5; "${process.execPath}" --import tsx sandbox/cli.ts help; echo $? >&2; } | true`;
  const { stderr } = spawnSync("bash", ["-c", command], { cwd: projectRoot, encoding: "utf8" });
  expect(stderr).toBe("0\n");
});
