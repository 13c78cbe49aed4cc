import { type ParseArgsConfig, parseArgs } from "node:util";

/** The parts of the sandbox's command line. */
interface Arguments {
  /** The sandbox's options, its command and the arguments of that command. */
  own: string[];
  /** With `shell`: the command to run on the machine. */
  command: string[];
}

/**
 * Splits the arguments where a command for a machine begins. The sandbox's options can be anywhere before it; everything
 * after it belongs to the command.
 * @throws Error when --name stands behind the command without a `--`, since it may be meant for either
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

/**
 * Refuses options that a command would ignore.
 * @param given the names of the given options
 * @param takes the options that each command takes
 * @throws Error that names the commands that take the option
 */
export function refuseOthers(
  command: string,
  given: Iterable<string>,
  takes: Record<string, readonly string[]>,
): void {
  for (const option of given) {
    if (takes[command]?.includes(option)) continue;
    const others = Object.keys(takes).filter((other) => takes[other]?.includes(option));
    const commands = [others.slice(0, -1).join(", "), others.at(-1)].filter(Boolean).join(" and ");
    throw new Error(`--${option} is given with ${command}; it can be given only with ${commands}`);
  }
}
