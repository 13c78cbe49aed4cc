import { expect, test } from "vitest";
import { refuseOthers, splitArguments } from "../../sandbox/arguments";

const options = { name: { type: "string" as const }, help: { type: "boolean" as const, short: "h" } };
const split = (line: string) => splitArguments(line.split(" ").filter(Boolean), options);

test.each([
  ["up --name x", "up --name x", ""],
  ["shell wcs-1", "shell wcs-1", ""],
  ["shell wcs-1 ls -l", "shell wcs-1", "ls -l"],
  ["--name x shell wcs-1 ls -l", "--name x shell wcs-1", "ls -l"],
  ["shell --name x wcs-1 ls --help", "shell --name x wcs-1", "ls --help"],
  ["shell wcs-1 --name x ls -l", "shell wcs-1 --name x", "ls -l"],
  ["shell wcs-1 --name x", "shell wcs-1 --name x", ""],
  ["--name shell status", "--name shell status", ""],
  ["status shell wcs-1 --name x", "status shell wcs-1 --name x", ""],
  ["shell wcs-1 -- docker run --name x", "shell wcs-1", "docker run --name x"],
  ["shell wcs-1 --name x -- docker run --name y", "shell wcs-1 --name x", "docker run --name y"],
  ["shell wcs-1 grep -- --name file", "shell wcs-1", "grep -- --name file"],
  ["shell wcs-1 find -name x", "shell wcs-1", "find -name x"],
])("%s: the sandbox reads %s, and the machine runs %s", (line, own, command) => {
  expect(split(line)).toEqual({ own: own.split(" "), command: command.split(" ").filter(Boolean) });
});

test.each(["shell wcs-1 ls --name x", "--name x shell wcs-1 ls --name=y"])("%s is refused", (line) => {
  expect(() => split(line)).toThrow(
    "--name stands behind the command ls, and would go to that; " +
      "to name the sandbox write: npm run sandbox -- --name NAME shell wcs-1 ls ...; " +
      "to give it to ls write: npm run sandbox -- shell wcs-1 -- ls ...",
  );
});

test.each([
  ["up", ["nodes", "config", "stack"], undefined],
  ["status", [], undefined],
  ["status", ["nodes"], "--nodes is given with status; it can be given only with up and preview"],
  ["up", ["port"], "--port is given with up; it can be given only with open"],
  ["down", ["stack"], "--stack is given with down; it can be given only with up, preview and refresh"],
])("%s with the options %j: %s", (command, given, message) => {
  const takes = {
    up: ["nodes", "config", "stack"],
    preview: ["nodes", "config", "stack"],
    refresh: ["stack"],
    open: ["port"],
    status: [],
    down: [],
  };
  const run = () => refuseOthers(command, given, takes);
  if (message) expect(run).toThrow(new Error(message));
  else run();
});
