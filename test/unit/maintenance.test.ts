import { describe, expect, test } from "vitest";
import type { AnyNode, ClusterMember, ClusterStatus } from "../../contract/status";
import { takenOutInPart } from "../../rollout/maintenance";

const server = "wcs-1-00000001";
const up: AnyNode = { server, state: "up", takenOut: null };
const maint: AnyNode = { server, state: "maint", takenOut: "maint" };
const drain: AnyNode = { server, state: "up", takenOut: "drain" };

const member = (instance: string, ...nodes: AnyNode[]): ClusterMember => ({
  name: null,
  instance,
  address: null,
  status: null,
  reason: "",
  haproxyAnswers: false,
  leaving: [],
  named: null,
  nodes,
});

/** The warnings while balancer-1 is i-1 and balancer-2 is i-2. */
function warnings(...balancers: ClusterMember[]): string[] {
  const cluster: ClusterStatus = { instance: "i-1", complete: true, balancers };
  return takenOutInPart(cluster, {
    balancers: { "balancer-1": "i-1", "balancer-2": "i-2" },
    revision: "r2",
    servers: [server],
    furtherServers: ["far-00000002"],
    hasLoadBalancer: true,
  });
}

describe("pulumi up warns of a node that an operator has taken out", () => {
  test("of a removed balancer, and which is in service on the new ones", () => {
    expect(warnings(member("i-1", up), member("i-2", up), member("i-old", maint))).toEqual([
      "wcs-1-00000001: an operator has it in maintenance on the removed balancer i-old, but it is in service on balancer-1 " +
        "(i-1) and balancer-2 (i-2): a balancer does not take this over from another one. If the node is to stay out, give " +
        "HAProxy there the command: set server wcs_back/wcs-1-00000001 state maint",
    ]);
  });

  test("of a wanted balancer, beside a new one that does not know it", () => {
    expect(warnings(member("i-1", drain), member("i-2", up))).toEqual([
      expect.stringMatching(/in drain on balancer-1 \(i-1\), but .* on balancer-2 \(i-2\): .* state drain$/),
    ]);
  });

  test("of a removed balancer of an earlier version, which says only that it is in maintenance", () => {
    const old = member("i-old", { server, state: "maint" });
    expect(warnings(member("i-1", up), member("i-2", maint), old)).toEqual([
      expect.stringMatching(
        / on the removed balancer i-old and balancer-2 \(i-2\), but .* on balancer-1 \(i-1\): /,
      ),
    ]);
  });

  test("and is not wanted by this stack alone", () => {
    const far: AnyNode = { server: "far-00000002", state: "maint", takenOut: "maint" };
    const others = [
      member("i-1", { ...far, state: "up", takenOut: null }),
      member("i-2"),
      member("i-old", far),
    ];
    expect(warnings(...others)).toEqual([expect.stringMatching(/^far-00000002: .* on balancer-1 \(i-1\): /)]);
  });
});

test.each<[string, ClusterMember[]]>([
  ["is out everywhere", [member("i-1", maint), member("i-2", maint), member("i-old", maint)]],
  ["is out nowhere", [member("i-1", up), member("i-2", up), member("i-old", up)]],
  ["is out of the new balancers alone, one by drain", [member("i-1", maint), member("i-2", drain)]],
  ["is not wanted any more", [member("i-1"), member("i-2"), member("i-old", maint)]],
  [
    "is in a maintenance that the balancer itself has made",
    [member("i-1", up), member("i-2", up), member("i-old", { ...maint, takenOut: null })],
  ],
])("pulumi up does not warn of a node that %s", (_, balancers) => {
  expect(warnings(...balancers)).toEqual([]);
});
