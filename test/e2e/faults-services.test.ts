import { afterAll, describe, expect, test } from "vitest";
import { status } from "./changes";
import { allUp, cloud, connect, eventually, get, onMachine } from "./cluster";

const minute = 60_000;
const wcs = "/usr/local/FlashphonerWebCallServer";

/** Kills a service's main process again and again, each time as soon as there is another one. */
const killTwentyTimes = (service: string) => `
  for i in {1..20}; do
    for try in {1..600}; do
      pid=$(systemctl show --property=MainPID --value ${service})
      [[ $pid == 0 || $pid == "\${last-}" ]] || break
      sleep 0.1
    done
    kill -KILL "$pid" || { echo "${service} did not come back for kill $i"; exit 1; }
    last=$pid
  done
  for try in {1..600}; do
    pid=$(systemctl show --property=MainPID --value ${service})
    [[ $pid == 0 || $pid == "$last" ]] || exit 0
    sleep 0.1
  done
  echo "${service} did not come back"; exit 1`;

/** Asks the agent as HAProxy does. */
const askAgent = (node: string) =>
  onMachine(node, "exec 3<>/dev/tcp/127.0.0.1/9707; printf ';' >&3; head -n 1 <&3");

test(
  "HAProxy, nginx, the sync service, xinetd and WCS come back after each of 20 kills",
  async () => {
    const killed = [
      ["balancer", "haproxy"],
      ["balancer", "nginx"],
      ["balancer", "wcs-balancer-sync"],
      ["wcs-1", "xinetd"],
      ["wcs-1", "webcallserver"],
    ] as const;
    // Side by side, and without the pause before each start: the limit of starts is what matters here.
    const outcomes = await Promise.all(
      ["balancer", "wcs-1"].map((name) => {
        const services = killed.filter(([on]) => on === name).map(([, service]) => service);
        const jobs = services.map((service) => `(${killTwentyTimes(service)}) & jobs="$jobs $!"`).join("\n");
        const quick = services.map(
          (service) =>
            `mkdir -p /run/systemd/system/${service}.service.d
             echo -e '[Service]\\nRestartSec=100ms' >/run/systemd/system/${service}.service.d/zz-quick.conf`,
        );
        return onMachine(
          name,
          `${quick.join("\n")}\nsystemctl daemon-reload\njobs=; ${jobs}\nfor job in $jobs; do wait $job || failed=1; done; exit \${failed-0}`,
        );
      }),
    );
    expect(outcomes.map(({ output }) => output).join("")).toBe("");

    await allUp(2);
    await (await connect()).close();
    expect((await get("/wcs/")).status).toBeLessThan(500);
    expect((await askAgent("wcs-1")).output).toMatch(/^(up|down)/);
    await eventually(async () => expect((await status()).applied).toBe(true));
  },
  6 * minute,
);

test(
  "a sync service that is frozen is started anew before pulumi up takes its machine for dead",
  async () => {
    const starts = () => onMachine("balancer", "systemctl show --property=NRestarts wcs-balancer-sync");
    const before = (await starts()).output;
    const client = await connect();
    const frozenAt = Date.now();
    await onMachine("balancer", "kill -STOP $(systemctl show --property=MainPID --value wcs-balancer-sync)");
    await eventually(async () => expect((await starts()).output).not.toBe(before), 120);
    await eventually(async () => expect((await status()).applied).toBe(true), 120);
    const { output: startedAt } = await onMachine(
      "balancer",
      "systemctl show --property=ExecMainStartTimestamp --value --timestamp=unix wcs-balancer-sync",
    );
    // A machine is taken for dead after 60 s. How fast this one starts a program is not asked here.
    expect(Number(startedAt.trim().replace("@", "")) * 1000 - frozenAt).toBeLessThan(55_000);
    await client.close();
  },
  6 * minute,
);

describe("a WCS that cannot start yet", () => {
  const isActive = async () => (await onMachine("wcs-1", "systemctl is-active webcallserver")).output;
  /** How often it was started again since `stop`. */
  const stop = "systemctl stop webcallserver; systemctl reset-failed webcallserver";
  const failures = () => onMachine("wcs-1", "systemctl show --property=NRestarts --value webcallserver");

  afterAll(() => cloud.call("setFaults", {}));

  test("metadata away while WCS restarts: it tries again until metadata is back", async () => {
    await cloud.call("setFaults", { metadata: "away" });
    await onMachine("wcs-1", `${stop}; systemctl start --no-block webcallserver`);
    // As often as would have ended it for ever.
    await eventually(async () => expect(Number((await failures()).output)).toBeGreaterThan(5), 150);
    await cloud.call("setFaults", {});
    await eventually(async () => expect(await isActive()).toBe("active\n"));
    await allUp(2);
  });

  test("disk full: WCS tries again until there is room, and its configuration stays complete", async () => {
    // A small disk of their own for the folder of WCS's configuration; another heap, so that there is something to
    // write.
    const full = `
      ${stop}
      mount -t tmpfs -o size=64k,mode=755 tmpfs /mnt && cp -a ${wcs}/conf/. /mnt && chown --reference=${wcs}/conf /mnt
      mount --bind /mnt ${wcs}/conf
      sed -i s/-Xmx.*/-Xmx1m/ ${wcs}/conf/wcs-core.properties
      cat /dev/zero >${wcs}/conf/zeros
      systemctl start --no-block webcallserver`;
    await onMachine("wcs-1", full);
    await eventually(async () => expect(Number((await failures()).output)).toBeGreaterThan(5), 150);
    expect((await onMachine("wcs-1", `cat ${wcs}/conf/wcs-core.properties`)).output).toContain("-Xmx1m\n");
    expect((await onMachine("wcs-1", "journalctl --unit=webcallserver")).output).toMatch(
      /wcs-configure: .*No space left on device/,
    );
    await onMachine("wcs-1", `rm ${wcs}/conf/zeros`);
    await eventually(async () => expect(await isActive()).toBe("active\n"));
    expect((await onMachine("wcs-1", `cat ${wcs}/conf/wcs-core.properties`)).output).not.toContain(
      "-Xmx1m\n",
    );
    await allUp(2);
  });
});

/** A new client gets a node. */
async function serves(): Promise<void> {
  await (await connect()).close();
}

test("HAProxy does not run: wcs-balancer-sync starts it", async () => {
  const starts = async () =>
    Number(
      (await onMachine("balancer", "journalctl --unit=wcs-balancer-sync | grep -c 'starts HAProxy'")).output,
    );
  const before = await starts();
  await onMachine("balancer", "systemctl stop haproxy");
  await eventually(serves, 120);
  expect(await starts()).toBe(before + 1);
});

test("the metadata service has no credentials: the status shows an error, and the balancer keeps serving", async () => {
  const restarts = () =>
    onMachine("balancer", "systemctl show --property=NRestarts --value wcs-balancer-sync");
  await cloud.call("setFaults", { metadata: "no credentials" });
  // A service that runs uses its credentials until they end.
  await onMachine("balancer", "systemctl restart wcs-balancer-sync");
  const before = await restarts();
  await eventually(async () => {
    const { error, applied } = await status();
    expect(error).toBe("instance metadata has no credentials for this machine's role");
    expect(applied).toBeNull();
  });
  expect((await get("/healthz")).status).toBe(200);
  await serves();
  expect(await restarts()).toEqual(before);
  await cloud.call("setFaults", {});
  await eventually(async () => expect(await status()).toMatchObject({ error: null, applied: true }));
});

describe("the metadata service, from a machine", () => {
  const ask = (user: string) =>
    `setpriv --reuid=${user} --regid=nogroup --clear-groups curl --silent --show-error --max-time 5 \
     --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token`;

  test.each([
    ["balancer", ["www-data", "haproxy", "nobody"]],
    ["wcs-1", ["flashphoner", "haproxy-agent", "nobody"]],
  ])("%s: root reaches it, %s do not", async (machine, others) => {
    expect((await onMachine(machine, ask("root"))).status).toBe(0);
    for (const user of others) {
      const { status, output } = await onMachine(machine, ask(user));
      expect([user, status, output]).toEqual([user, 7, expect.stringContaining("Could not connect")]);
    }
    // From boot on, not only since the set-up.
    const unit = "systemctl is-enabled wcs-metadata && systemctl show --property=Before wcs-metadata";
    expect((await onMachine(machine, unit)).output).toMatch(/^enabled\n.*\bnetwork-pre\.target\b/);
  });
});
