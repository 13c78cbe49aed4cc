import { describe, expect, test } from "vitest";
import { nothingAnswered, throughLoadBalancer } from "../../rollout/environment";

const closed = "https://192.0.2.1: the connection was closed before its TLS handshake";

describe("while no balancer has answered yet, pulumi up says", () => {
  test("that the load balancer has no healthy target, and which consoles say why", () => {
    expect(throughLoadBalancer(closed)).toBe(
      `a healthy target of the load balancer: no balancer has answered through it yet (${closed})`,
    );
    expect(nothingAnswered({ "balancer-1": "i-1", "balancer-2": "i-2" }, true)).toBe(
      ". Most probably no balancer is a healthy target of the load balancer yet, and a balancer's console says why it does " +
        "not serve. See the machine's console with: aws ec2 get-console-output --latest --output text --instance-id i-1 " +
        "(balancer-1; balancer-2 is i-2)",
    );
    expect(nothingAnswered({ "balancer-1": "i-1" }, true)).toMatch(/--instance-id i-1$/);
  });

  test("that the Elastic IP may have moved, where there is one", () => {
    expect(nothingAnswered({ "balancer-1": "i-1" }, false)).toMatch(
      /^\. If somebody has moved the Elastic IP, .* --instance-id i-1$/,
    );
  });
});
