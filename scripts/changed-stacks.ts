/** Prints the stacks that a branch changes, by their names on one line, for the preview workflow. */
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";

const usage = `Usage: npm run changed-stacks -- BASE

Prints the names of the stacks whose machines or resources can differ between the commit BASE and the one
checked out: a stack's own file changes that stack, the program changes all of them.
`;

const stackFile = /^Pulumi\.([^.]+)\.yaml$/;

/** The paths that the resources of every stack are made from. */
const program =
  /^index\.ts$|^(cluster|components|config|machines|policy|rollout|userdata)\/|^package(-lock)?\.json$|^Pulumi\.yaml$/;

/**
 * @param files paths that a branch changes
 * @param stacks names of all stacks
 */
export function changedStacks(files: string[], stacks: string[]): string[] {
  if (files.some((file) => program.test(file))) return stacks;
  const changed = files.map((file) => file.match(stackFile)?.[1]);
  return stacks.filter((stack) => changed.includes(stack));
}

function main(): void {
  const [base, ...rest] = process.argv.slice(2);
  if (!base || rest.length > 0 || base === "--help") {
    (base === "--help" ? process.stdout : process.stderr).write(usage);
    process.exitCode = base === "--help" ? 0 : 2;
    return;
  }
  // Three dots: the changes since the branch left its base, without later changes of the base.
  const files = execFileSync("git", ["diff", "--name-only", `${base}...HEAD`], { encoding: "utf8" });
  const stacks = readdirSync(".").flatMap((file) => file.match(stackFile)?.[1] ?? []);
  console.log(changedStacks(files.trim().split("\n"), stacks.sort()).join(" "));
}

if (require.main === module) main();
