import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { Admission } from "../run/admission";

/** A job that runs until it is ended. */
function job() {
  const state = { began: false, end: () => {} };
  const ended = new Promise<void>((resolve) => {
    state.end = resolve;
  });
  return Object.assign(state, {
    run: () => {
      state.began = true;
      return ended;
    },
  });
}

const soon = () => sleep(30);

test("on busy processors one job runs at a time, in the order in which they came", async () => {
  const admission = new Admission(() => 100, 1);
  const [first, second, third] = [job(), job(), job()];
  const all = [first, second, third].map(({ run }) => admission.run(run));
  await soon();
  expect([first, second, third].map(({ began }) => began)).toEqual([true, false, false]);
  first.end();
  await soon();
  expect([second.began, third.began]).toEqual([true, false]);
  second.end();
  third.end();
  await Promise.all(all);
  expect(third.began).toBe(true);
});

test("jobs run beside each other while the processors have room", async () => {
  let pressure = 0;
  const admission = new Admission(() => pressure, 1);
  const [first, second, third] = [job(), job(), job()];
  const two = [first, second].map(({ run }) => admission.run(run));
  await soon();
  expect([first.began, second.began]).toEqual([true, true]);
  pressure = 71;
  const last = admission.run(third.run);
  await soon();
  expect(third.began).toBe(false);
  pressure = 70;
  await expect.poll(() => third.began).toBe(true);
  for (const { end } of [first, second, third]) end();
  await Promise.all([...two, last]);
});

test("a job that fails makes room, too", async () => {
  const admission = new Admission(() => 100, 1);
  await expect(admission.run(() => Promise.reject(new Error("broken")))).rejects.toThrow("broken");
  await expect(admission.run(async () => "next")).resolves.toBe("next");
});
