import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { projectRoot } from "../../sandbox/paths";

const read = (path: string) => readFileSync(join(projectRoot, path), "utf8");

describe("CONTRIBUTING says where to change what people want to change:", () => {
  const [, table = ""] = read("CONTRIBUTING.md").split("| Where would you change ... | Here |\n|---|---|\n");
  const answers = Object.fromEntries(
    [...table.matchAll(/^\| (.*) \| (.*) \|$/gm)].map(([, question = "", answer = ""]) => [
      question,
      [...answer.matchAll(/`([^`]+)`/g)].map(([, file = ""]) => file),
    ]),
  );

  test("each answer is files that exist", () => {
    expect(Object.keys(answers).length).toBeGreaterThanOrEqual(12);
    for (const files of Object.values(answers)) expect(files).not.toEqual([]);
    expect(
      Object.values(answers)
        .flat()
        .filter((file) => !existsSync(join(projectRoot, file))),
    ).toEqual([]);
  });

  // What a stranger asks, and what stands in the file.
  test.each([
    ["which node gets a WebSocket", "    balance $"],
    ["how long a node may drain", "drainTimeoutSeconds: "],
    ["the port that agents answer on", "agentPort = "],
    ["which packages of the distribution", '"unattended-upgrades"'],
    ["how long `pulumi up` waits", "deadlineSeconds = "],
    ["the last words of `pulumi up`", "nodes $"],
    ["when a new balancer gets the Elastic IP", "silenceSeconds = "],
    ["the DNS record", "new aws.route53.Record("],
    ["when a public certificate is renewed", "validity.lifetime * "],
    ["what a deployment's role may do", '"ec2:RunInstances"'],
    ["what the policy pack refuses", "is open to the world; name the networks"],
    ["how the sandbox plays S3", "x-amz-server-side-encryption"],
  ])("%s", (question, fact) => {
    const rows = Object.keys(answers).filter((row) => row.includes(question));
    expect(rows).toHaveLength(1);
    const texts = rows.flatMap((row) => answers[row] ?? []).map(read);
    expect(texts.some((text) => text.includes(fact))).toBe(true);
  });
});
