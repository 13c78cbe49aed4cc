import { describe, expect, test } from "vitest";
import type { Job } from "../run/jobs";
import { shuffled } from "../run/queue";
import { isOfWholeRun } from "../run/sandboxes";
import { renderTimes } from "../run/times";
import { countTests, filesWithTest, withName } from "../run/vitest";

const jobs = ["a", "b", "c", "d", "e", "f", "g"].map((name) => ({ name }) as Job);
const names = (list: Job[]) => list.map(({ name }) => name).join("");

describe("the order of a run", () => {
  test("is the same for the same seed, and another one for another", () => {
    expect(names(shuffled(jobs, 7))).toBe(names(shuffled(jobs, 7)));
    const orders = new Set([1, 2, 3, 4, 5, 6, 7, 8].map((seed) => names(shuffled(jobs, seed))));
    expect(orders.size).toBeGreaterThan(5);
  });

  test("leaves nothing out", () => {
    expect([...names(shuffled(jobs, 3))].sort().join("")).toBe("abcdefg");
  });
});

describe("the count of a run", () => {
  const report = { numPassedTests: 3, numFailedTests: 0, numTotalTests: 3, testResults: [] };
  test.each([
    ["all passed", report, 0, { passed: 3, failed: 0 }],
    ["one failed", { ...report, numPassedTests: 2, numFailedTests: 1 }, 1, { passed: 2, failed: 1 }],
    ["a test was left out", { ...report, numPassedTests: 2 }, 0, { passed: 2, failed: 1 }],
    ["there was no test", { ...report, numPassedTests: 0, numTotalTests: 0 }, 0, { passed: 0, failed: 1 }],
    ["an error that no test has", report, 1, { passed: 3, failed: 1 }],
    ["no report", undefined, 0, { passed: 0, failed: 1 }],
  ])("%s", (_, given, status, expected) => {
    expect(countTests(given, status)).toEqual(expected);
  });
});

test("a whole run removes its own sandboxes, and nobody else's", () => {
  expect(["testbase", "test1", "test12"].filter(isOfWholeRun)).toHaveLength(3);
  const others = ["default", "demo1", "dev12", "mytest1", "testkept", "testkeptbase", "testclone", "test"];
  expect(others.filter(isOfWholeRun)).toEqual([]);
});

describe("tests chosen by name", () => {
  test("the others do not count as left out", () => {
    const report = { numPassedTests: 1, numFailedTests: 0, numTotalTests: 9, testResults: [] };
    expect(countTests(report, 0, true)).toEqual({ passed: 1, failed: 0 });
    expect(countTests({ ...report, numPassedTests: 0 }, 0, true)).toEqual({ passed: 0, failed: 1 });
  });

  test("the name is meant as it stands, not as a regular expression, and as vitest prints it", () => {
    expect(withName("a (b) > [c]?")).toEqual(["--testNamePattern", "a \\(b\\) \\[c\\]\\?"]);
  });

  test("the file is found by a name that stands in it", () => {
    expect(filesWithTest("tests chosen by name > the file is found by a name", false)).toEqual([
      "test/unit/test-run.test.ts",
    ]);
  }, 60_000);
});

test("the table of times has a line for each file and for its longer tests", () => {
  const times = { settingUp: 1, working: 2, waiting: 3 };
  const tests = [
    { name: "a | b", seconds: 6, times },
    { name: "short", seconds: 0.5 },
  ];
  const result = { name: "e2e/x", passed: 2, failed: 0, seconds: 10, output: "", tests };
  const text = renderTimes([result], { seconds: 100, prepared: 0, atATime: 4 });
  expect(text).toContain(
    "| **e2e/x** (2 tests) | 10.0 | 5.0 | 2.0 | 3.0 |\n| a \\| b | 6.0 | 1.0 | 2.0 | 3.0 |\n",
  );
  expect(text).not.toContain("short |");
  expect(text).toContain("1 min 40 s");
});
