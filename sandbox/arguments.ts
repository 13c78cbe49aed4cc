import { type ParseArgsConfig, parseArgs } from "node:util";

/** What stands on the sandbox's command line. */
export interface Arguments {
  /** Options of the sandbox, its command and what belongs to that. */
  own: string[];
  /** With `shell`: the command that is to run on the machine. */
  command: string[];
}

/**
 * Splits the arguments where a command for a machine begins. Options of the sandbox stand anywhere before that; behind
 * it everything is the command's.
 * @throws Error when --name stands behind the command without a `--`: both may be meant
 */
export function splitArguments(args: string[], options: ParseArgsConfig["options"]): Arguments {
  const { tokens } = parseArgs({ args, options, strict: false, allowPositionals: true, tokens: true });
  const words = tokens.filter(({ kind }) => kind === "positional").map(({ index }) => index);
  const [first, machine, begin] = words;
  if (first === undefined || args[first] !== "shell") return { own: args, command: [] };
  const end = tokens.find(({ kind }) => kind === "option-terminator")?.index;
  if (
    end !== undefined &&
    machine !== undefined &&
    end > machine &&
    end < (begin ?? Number.POSITIVE_INFINITY)
  )
    return { own: args.slice(0, end), command: args.slice(end + 1) };
  if (begin === undefined) return { own: args, command: [] };

  const command = args.slice(begin);
  const closed = command.indexOf("--");
  const open = closed < 0 ? command : command.slice(0, closed);
  if (open.some((word) => word === "--name" || word.startsWith("--name="))) {
    throw new Error(
      `--name stands behind the command ${command[0]}, and would go to that; ` +
        `to name the sandbox write: npm run sandbox -- --name NAME shell ${args[machine as number]} ${command[0]} ...; ` +
        `to give it to ${command[0]} write: npm run sandbox -- shell ${args[machine as number]} -- ${command[0]} ...`,
    );
  }
  return { own: args.slice(0, begin), command };
}
