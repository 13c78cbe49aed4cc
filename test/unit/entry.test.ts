import { describe, expect, test } from "vitest";
import { balancerNames, clientPathsOf, defaultLeave, leaveOf } from "../../cluster/entry";
import { balancerSubnets, type Subnet, SubnetsError, zoneWarnings } from "../../cluster/zones";

test("one balancer has the Elastic IP, several have a load balancer, unless entry says otherwise", () => {
  expect(clientPathsOf({ balancers: 1 })).toEqual({ address: true, loadBalancer: false });
  expect(clientPathsOf({ balancers: 2 })).toEqual({ address: false, loadBalancer: true });
  expect(clientPathsOf({ balancers: 2, entry: "both" })).toEqual({ address: true, loadBalancer: true });
  expect(clientPathsOf({ balancers: 1, entry: "loadBalancer" })).toEqual({
    address: false,
    loadBalancer: true,
  });
});

test("balancers are numbered from 1", () => {
  expect(balancerNames(3)).toEqual(["balancer-1", "balancer-2", "balancer-3"]);
});

test("tests can shorten the time that a balancer goes on", () => {
  expect(leaveOf({})).toEqual(defaultLeave);
  expect(leaveOf({ WCS_BALANCER_LEAVE: "tail=5,quiet=2" })).toEqual({ tailSeconds: 5, quietSeconds: 2 });
  expect(() => leaveOf({ WCS_BALANCER_LEAVE: "5" })).toThrow(
    'WCS_BALANCER_LEAVE is "5"; it must be two numbers of seconds, such as tail=5,quiet=2.',
  );
});

describe("the load balancer's subnets", () => {
  /** The zones' names and ids have different orders, as in most accounts. */
  const subnet = (id: string, zone: string, number: number): Subnet => ({
    id: `subnet-${id}`,
    zone,
    zoneId: `use1-az${number}`,
  });
  const [a, b, c] = [subnet("4", "a", 2), subnet("3", "b", 10), subnet("2", "c", 1)] as const;
  const d = subnet("1", "d", 4);

  test("are one in each zone, the first balancer's zone first", () => {
    expect(balancerSubnets([b, a], b, false)).toEqual([b, a]);
    expect(balancerSubnets([a, b], a, false)).toEqual([a, b]);
  });

  test("do not depend on the order in which AWS lists them, or on a second one in a zone", () => {
    const second = subnet("5", "a", 2);
    expect(balancerSubnets([second, b, a], second, true)).toEqual([a, b]);
    expect(balancerSubnets([a, second, b], second, true)).toEqual([a, b]);
  });

  test("are in the three oldest zones of the default VPC, with the first balancer's among them", () => {
    expect(balancerSubnets([d, c, b, a], c, false)).toEqual([c, a, d]);
    expect(balancerSubnets([d, c, b, a], b, false)).toEqual([b, c, a]);
  });

  test("stay when the VPC gets one in a newer zone", () => {
    const newer = subnet("0", "e", 11);
    for (const first of [a, b, c])
      expect(balancerSubnets([newer, a, b, c], first, false)).toEqual(
        balancerSubnets([a, b, c], first, false),
      );
  });

  test("include the one of a first balancer whose zone the VPC's default subnets do not have any more", () => {
    expect(balancerSubnets([a, c], b, false)).toEqual([b, c, a]);
    expect(() => balancerSubnets([a, c], b, true)).toThrow(
      /^subnetIds has no subnet in the zone b, where balancer-1 is \(subnet-3\); .* 'subnetIds\[2\]' subnet-3$/,
    );
  });

  test("that the configuration names in more zones are refused with the reason", () => {
    expect(() => balancerSubnets([a, b, c, d], a, true)).toThrow(SubnetsError);
    expect(() => balancerSubnets([a, b, c, d], a, true)).toThrow(
      /^subnetIds has subnets in 4 zones \(a, b, c, d\); a load balancer needs an Elastic IP in each zone, and an account has five/,
    );
    expect(balancerSubnets([a, b, c], b, true)).toEqual([b, c, a]);
  });

  test("in one zone are worth a warning that names the risk", () => {
    expect(zoneWarnings([a], 2)).toEqual([
      expect.stringMatching(
        /^all subnets are in the zone a: when this zone fails, all 2 balancers fail with it/,
      ),
    ]);
    expect(zoneWarnings([a], 1)).toEqual([]);
    expect(zoneWarnings([a, b], 2)).toEqual([]);
  });
});
