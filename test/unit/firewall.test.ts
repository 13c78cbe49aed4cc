import { describe, expect, test } from "vitest";
import { type Group, ingressRules, renderIngressRules } from "../../cluster/firewall";
import type { Entry } from "../../config/schema";

const settings = {
  clientCidrs: ["203.0.113.0/24"],
  adminCidrs: [],
  balancerCidrs: [],
  directAccess: false,
  openPorts: [],
} satisfies Partial<Parameters<typeof ingressRules>[0]>;

/** The open ports of a kind of machine, one line each. */
function open(group: Group, balancers: number, entry: Entry): string[] {
  const text = renderIngressRules(ingressRules({ ...settings, balancers, entry }));
  const beginning = `${group} tcp `;
  return text
    .split("\n")
    .filter((line) => line.startsWith(beginning))
    .map((line) => line.slice(beginning.length));
}

const clients = ["443 from 203.0.113.0/24 (https)", "80 from 203.0.113.0/24 (http)"];
const behind = [
  "10080 from each load-balancer (load-balancer-http)",
  "10404 from each load-balancer (load-balancer-health)",
  "10443 from each load-balancer (load-balancer-https)",
  "443 from each balancer (status)",
];

describe.each([1, 2, 3])("%i balancers", (count) => {
  test("with the entry loadBalancer are open to the load balancer, and on 443 alone to each other", () => {
    expect(open("balancer", count, "loadBalancer")).toEqual(behind);
    expect(open("load-balancer", count, "loadBalancer")).toEqual(clients);
  });

  test("with both are open to clients, too", () => {
    expect(open("balancer", count, "both")).toEqual([...behind, ...clients].sort());
    expect(open("load-balancer", count, "both")).toEqual(clients);
  });
});

test("one balancer with the entry address is open to clients alone", () => {
  expect(open("balancer", 1, "address")).toEqual(clients);
  expect(open("load-balancer", 1, "address")).toEqual([]);
});

test.each<[number, Entry]>([
  [1, "address"],
  [2, "loadBalancer"],
  [2, "both"],
])("nodes take media from clients, and WebSockets from balancers alone: %i, %s", (count, entry) => {
  expect(open("node", count, entry)).toEqual([
    "30000-33000 from 203.0.113.0/24 (media-tcp)",
    "8080 from each balancer (ws)",
    "9707 from each balancer (agent)",
  ]);
});
