import { describe, expect, test } from "vitest";
import { eventually } from "./cluster";
import { commandsOf, documentedPages, runDocumented } from "./documented";

describe.each(documentedPages)("%s", (page) => {
  test.each(commandsOf(page))("%s", async (command) => {
    // A status that is asked for in the moment of a change says so, with its exit status.
    await eventually(() => {
      const { status, output } = runDocumented(command);
      expect(output, output.slice(-2000)).toSatisfy(() => status === 0);
    }, 10);
  });
});
