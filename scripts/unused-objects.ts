/** Lists or deletes the objects of a stack's software bucket that its machines do not need any more. */
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";

const usage = `Usage: npm run unused-objects -- --stack NAME [--delete]

Lists the objects in the bucket of stack NAME that only machines of older versions need; --delete deletes them. Needs
the Pulumi CLI, the AWS CLI and credentials for both. Run it after a \`pulumi up\` that has succeeded: before that, an
older machine may still need them.
`;

/**
 * The objects that a stack does not name.
 * @throws Error when the stack names an object that is not in the bucket: this is not the stack's bucket then
 */
export function unusedObjects(there: string[], named: string[]): string[] {
  const missing = named.filter((key) => !there.includes(key));
  if (named.length === 0 || missing.length > 0) {
    throw new Error(
      `the stack names ${named.length} objects, and ${missing.join(", ") || "none"} is not in its bucket; ` +
        "nothing is deleted. Run pulumi up first",
    );
  }
  return there.filter((key) => !named.includes(key));
}

function json<T>(command: string, args: string[]): T {
  return JSON.parse(
    execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }),
  ) as T;
}

function main(): void {
  const { values } = parseArgs({
    options: {
      stack: { type: "string" },
      delete: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help || !values.stack) {
    (values.help ? process.stdout : process.stderr).write(usage);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const stack = ["--stack", values.stack];
  // The newest first. A refresh that succeeds says nothing of the update before it.
  const history = json<{ kind: string; result: string }[]>("pulumi", [
    "stack",
    "history",
    "--json",
    ...stack,
  ]);
  const last = history.find(({ kind }) => kind === "update");
  if (last?.result !== "succeeded") {
    throw new Error(
      `the last update of ${values.stack} has ${last?.result ?? "not been made"}; run pulumi up first, since an older ` +
        "machine may still need its software",
    );
  }
  const { softwareBucket, softwareObjects } = json<{ softwareBucket: string; softwareObjects: string[] }>(
    "pulumi",
    ["stack", "output", "--json", ...stack],
  );
  // The AWS CLI asks for further pages automatically.
  const there = json<string[] | null>("aws", [
    "s3api",
    "list-objects-v2",
    ...["--bucket", softwareBucket, "--query", "Contents[].Key", "--output", "json"],
  ]);
  for (const key of unusedObjects(there ?? [], softwareObjects)) {
    if (values.delete)
      execFileSync("aws", ["s3api", "delete-object", "--bucket", softwareBucket, "--key", key], {
        stdio: ["ignore", "ignore", "inherit"],
      });
    console.log(`${values.delete ? "deleted " : ""}s3://${softwareBucket}/${key}`);
  }
}

if (require.main === module) {
  try {
    main();
  } catch (error) {
    console.error(`unused-objects: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
