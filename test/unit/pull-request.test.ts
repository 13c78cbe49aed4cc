import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { projectRoot } from "../../sandbox/paths";
import { changedStacks } from "../../scripts/changed-stacks";
import { readPreviews, renderComment } from "../../scripts/preview-comment";
import { renderStack } from "../../scripts/render";

const stacks = ["dev", "prod", "staging"];

test.each([
  [["Pulumi.prod.yaml"], ["prod"]],
  [
    ["Pulumi.prod.yaml", "Pulumi.dev.yaml", "README.md"],
    ["dev", "prod"],
  ],
  [["machines/balancer/nginx.conf"], stacks],
  [["components/balancer.ts"], stacks],
  [["config/schema.ts"], stacks],
  [["cluster/sizes.ts"], stacks],
  [["policy/policies.ts"], stacks],
  [["package-lock.json"], stacks],
  [["README.md", "docs/operations.md", "test/unit/config.test.ts", "sandbox/cli.ts"], []],
  [[""], []],
])("%j changes the stacks %j", (files, expected) => {
  expect(changedStacks(files, stacks)).toEqual(expected);
});

describe("the comment on a pull request", () => {
  const preview =
    "Previewing update (dev):\n  + a: (create)\nResources:\n    + 1 to create\n    40 unchanged\n";

  test("shows the count first, the rest folded", () => {
    const comment = renderComment([{ stack: "dev", preview, rendered: "--- a\n+++ b\n-x\n+y\n" }]);
    expect(comment).toContain("### dev\n\n```\nResources:\n    + 1 to create\n    40 unchanged\n```");
    expect(comment).toContain("<details><summary>The whole preview</summary>");
    expect(comment).toContain("```diff\n--- a\n+++ b\n-x\n+y\n```");
  });

  test("says which machines are replaced", () => {
    const diffOf = (file: string) => `diff --git before/${file} after/${file}\n-x\n+y\n`;
    const commentOf = (...changed: string[]) =>
      renderComment([{ stack: "dev", rendered: changed.map(diffOf).join("") }]);
    const node = ["node/files/usr/local/sbin/wcs-configure", "node/user-data.yaml"];
    expect(commentOf(...node)).toContain("**Replaced: every node (new ones first; the old ones drain).**");
    expect(commentOf("balancer/user-data.yaml")).toContain(
      "**Replaced: every balancer (new ones first; the old ones hand over or drain).**",
    );
    expect(commentOf("balancer/haproxy.cfg")).toContain("No machine is replaced by a change of its files.");
  });

  describe("with what npm run render writes", () => {
    const domain = "wcs.example.com";
    const folder = mkdtempSync(join(tmpdir(), "wcs-diff-"));
    afterAll(() => rmSync(folder, { recursive: true }));

    /** As scripts/render-diff.sh does it. */
    function commentOn(change: Record<string, unknown>): string {
      const sides = {
        before: renderStack("dev", { domain }),
        after: renderStack("dev", { domain, ...change }),
      };
      for (const [side, files] of Object.entries(sides)) {
        for (const [name, content] of Object.entries(files).filter(([file]) => !file.endsWith(".base64"))) {
          mkdirSync(dirname(join(folder, side, name)), { recursive: true });
          writeFileSync(join(folder, side, name), content);
        }
      }
      const args = ["diff", "--no-index", "--no-color", "--no-prefix", "before", "after"];
      const { stdout } = spawnSync("git", args, { cwd: folder, encoding: "utf8" });
      return renderComment([{ stack: "dev", rendered: stdout }]);
    }

    test("shows that another balancerCidrs replaces every node, and whom it lets in", () => {
      const comment = commentOn({ balancerCidrs: ["172.31.0.10/32"] });
      expect(comment).toContain("**Replaced: every node (new ones first; the old ones drain).**");
      expect(comment).toContain("ALLOWED_ADDRESSES='10.0.0.0/16 172.31.0.10/32 127.0.0.1'");
      expect(comment).toMatch(/^\+node tcp 8080 from 172\.31\.0\.10\/32 \(ws\)$/m);
      expect(comment).toMatch(/^\+node tcp 9707 from 172\.31\.0\.10\/32 \(agent\)$/m);
    });

    test("shows that externalNodes are servers, and replace nothing", () => {
      const comment = commentOn({ externalNodes: [{ name: "hardware-1", address: "192.0.2.7" }] });
      expect(comment).toContain("No machine is replaced by a change of its files.");
      expect(comment).toMatch(/^\+ {4}server hardware-1-[0-9a-f]{8} 192\.0\.2\.7:8080$/m);
    });

    test("shows what is opened and closed, where no machine's files change", () => {
      const comment = commentOn({ directAccess: false, openPorts: ["cdn"] });
      expect(comment).toContain("No machine is replaced by a change of its files.");
      expect(comment).toMatch(/^-node tcp 8443 from 0\.0\.0\.0\/0 \(wss\)$/m);
      expect(comment).toMatch(/^\+node tcp 8084 from each node \(cdn\)$/m);
    });
  });

  test("names the machines that the preview replaces, for whatever reason", () => {
    const step = (name: string, action: string) =>
      `    +-aws:ec2/instance:Instance: (${action})\n        [id=i-0${name}]\n        [urn=urn:pulumi:dev::wcs-balancer::a$aws:ec2/instance:Instance::${name}]\n      ~ instanceType: "a" => "b"\n`;
    const text = `${preview}${step("wcs-2", "replace")}${step("balancer", "update")}${step("wcs-1", "replace")}`;
    expect(renderComment([{ stack: "dev", preview: text, rendered: "" }])).toContain(
      "**Replaced: wcs-1, wcs-2.**",
    );
    expect(renderComment([{ stack: "dev", preview, rendered: "" }])).toContain(
      "No machine is replaced by this.",
    );
  });

  test("says that a preview failed, and why", () => {
    const comment = renderComment([
      { stack: "dev", preview: `${preview}error: preview failed\n`, rendered: "" },
    ]);
    expect(comment).toContain("**The preview failed.**\n\n```\nerror: preview failed\n```");
    expect(comment).toContain("The machines' files and the firewall stay the same.");
  });

  test("says of a stack without a preview why there may be none", () => {
    expect(renderComment([{ stack: "dev", rendered: "" }])).toContain(
      "No preview: nobody has approved it, or it was cancelled. Code from a fork gets no preview.",
    );
  });

  test("reads what the jobs have left, and goes on without what one has not", () => {
    const folder = mkdtempSync(join(tmpdir(), "wcs-comment-"));
    writeFileSync(join(folder, "dev.txt"), preview);
    const read = readPreviews(["dev", "prod"], folder, folder);
    rmSync(folder, { recursive: true });
    expect(read).toEqual([
      { stack: "dev", preview, rendered: "" },
      { stack: "prod", preview: undefined, rendered: "" },
    ]);
    expect(renderComment(read)).toContain("### prod\n\nNo preview:");
  });

  test("is never longer than GitHub takes, and says what is left out", () => {
    const long = "x".repeat(200_000);
    const comment = renderComment(stacks.map((stack) => ({ stack, preview: long, rendered: long })));
    expect(comment.length).toBeLessThan(65_536);
    expect(comment.match(/more characters: see the artifact "rendered" and the job's log/g)).toHaveLength(6);
  });

  test("cannot be broken out of by what it quotes", () => {
    const comment = renderComment([{ stack: "dev", preview: "````\n# not a heading\n````", rendered: "" }]);
    expect(comment).toContain("`````\n````\n# not a heading\n````\n`````");
  });

  test("without a changed stack says so", () => {
    expect(renderComment([])).toBe("No stack changes.\n");
  });
});

interface Step {
  uses?: string;
  run?: string;
  shell?: string;
  with?: Record<string, string>;
}
interface Workflow {
  on: Record<string, unknown>;
  permissions?: Record<string, string>;
  jobs: Record<string, Job>;
}
interface Job {
  permissions?: Record<string, string>;
  environment?: string;
  strategy?: object;
  steps?: Step[];
  concurrency?: object;
}

const folder = join(projectRoot, ".github/workflows");
const names = readdirSync(folder);
const textOf = (name: string) => readFileSync(join(folder, name), "utf8");
const workflowOf = (name: string) => parse(textOf(name)) as Workflow;

describe.each(names)("the workflow %s", (name) => {
  test("pins every action by its commit, with the version beside it", () => {
    const uses = textOf(name).match(/uses: .*/g) ?? [];
    const foreign = uses.filter((line) => !line.startsWith("uses: ./"));
    for (const line of foreign) expect(line).toMatch(/^uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  test("has no permission but those that a job names, and no write but for tokens and comments", () => {
    const { permissions, jobs } = workflowOf(name);
    expect(permissions).toSatisfy(
      (top) => JSON.stringify(top) === "{}" || JSON.stringify(top) === '{"contents":"read"}',
    );
    const written = Object.values(jobs)
      .flatMap((job) => Object.entries(job.permissions ?? {}))
      .filter(([, access]) => access === "write")
      .map(([scope]) => scope);
    expect(["id-token", "pull-requests"]).toEqual(expect.arrayContaining(written));
  });

  test("puts no value of the event into a script, and runs no fork's code with a secret", () => {
    const { on, jobs } = workflowOf(name);
    expect(Object.keys(on)).not.toContain("pull_request_target");
    for (const { run } of Object.values(jobs).flatMap(({ steps = [] }) => steps))
      expect(run ?? "").not.toContain("${{");
  });
});

describe("a job that gets a credential of AWS", () => {
  const jobs = names.flatMap((name) =>
    Object.entries(workflowOf(name).jobs).map(([job, content]) => ({ job: `${name} ${job}`, ...content })),
  );
  const takes = ({ steps = [] }: Job, action: string) => steps.some(({ uses }) => uses?.includes(action));
  const withCredential = jobs.filter((job) => takes(job, "configure-aws-credentials"));

  test.each(withCredential)("$job waits for its environment, and cannot write to the repository", (job) => {
    expect(job.environment).toMatch(/\$\{\{ (inputs|matrix)\.stack \}\}$/);
    expect(job.permissions).toEqual({ contents: "read", "id-token": "write" });
  });

  test("is the only one that can get one", () => {
    const able = jobs.filter(({ permissions, steps }) => steps && permissions?.["id-token"]);
    expect(able.map(({ job }) => job)).toEqual(withCredential.map(({ job }) => job));
    expect(withCredential.map(({ job }) => job)).toEqual(["deploy-stack.yml up", "preview.yml preview"]);
  });

  test("has run no script of a package's installation, and no script of a download", () => {
    const setup = readFileSync(join(projectRoot, ".github/actions/setup/action.yml"), "utf8");
    expect(setup.match(/npm ci.*/g)).toEqual(["npm ci --ignore-scripts"]);
    for (const text of [setup, ...names.map(textOf)]) {
      expect(text).not.toMatch(/\|\s*(ba)?sh\b/);
      expect(text).not.toMatch(/\b(curl|wget)\b/);
    }
    for (const line of setup.match(/uses: .*/g) ?? [])
      expect(line).toMatch(/^uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  test("fails when its preview fails, though what it prints goes through a pipe", () => {
    const piped = jobs
      .flatMap(({ steps = [] }) => steps)
      .filter(({ run }) => run?.includes("| tee") || run?.includes("|\n"));
    // GitHub's default has no pipefail; bash by name has.
    expect(piped.map(({ shell }) => shell)).toEqual(["bash"]);
  });

  test("previews one stack in that stack's environment", () => {
    const { preview } = workflowOf("preview.yml").jobs;
    expect(preview?.environment).toMatch(/^preview-\$\{\{ matrix\.stack \}\}$/);
    expect(JSON.stringify(preview?.strategy)).toContain("fromJSON(needs.render.outputs.matrix)");
  });
});

test("the job that comments has no credential, and runs the base branch's code", () => {
  const { comment } = workflowOf("preview.yml").jobs;
  expect(comment?.permissions).toEqual({ contents: "read", "pull-requests": "write" });
  const [checkout, ...others] = comment?.steps ?? [];
  expect(checkout?.uses).toContain("actions/checkout@");
  expect(checkout?.with?.ref).toContain("github.event.pull_request.base.sha");
  expect(others.some(({ uses }) => uses?.includes("checkout"))).toBe(false);
});

test("a deployment is never cancelled half way, and there is one at a time", () => {
  const { up } = workflowOf("deploy-stack.yml").jobs;
  expect(up?.concurrency).toEqual({
    group: expect.stringContaining("inputs.stack"),
    "cancel-in-progress": false,
  });
});
