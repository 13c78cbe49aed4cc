import { z } from "zod";
import { listenerCalls, loadBalancerCalls, targetGroupCalls } from "./load-balancing-calls";
import { inCloud, type ResourceType, unknownValue } from "./resource-type";
import type { Values } from "./values";
import { tags, text } from "./values";

/** The rules of elbv2/validate.go. */
const name = text
  .max(32, "cannot be longer than 32 characters")
  .regex(/^[0-9A-Za-z-]+$/, "can only contain alphanumeric characters and hyphens")
  .refine((value) => !value.startsWith("-"), "cannot begin with a hyphen")
  .refine((value) => !value.endsWith("-"), "cannot end with a hyphen");

const arn = text.regex(/^arn:/, "is an invalid ARN");
const port = z.int().min(1).max(65_535);

const onlyNetwork = "the sandbox knows load balancers of type network only";
const loadBalancer = z.strictObject({
  name: name.refine((value) => !value.startsWith("internal-"), 'cannot begin with "internal-"'),
  loadBalancerType: z.literal("network", onlyNetwork),
  internal: z.literal(false, "the sandbox knows load balancers that face the internet only").optional(),
  ipAddressType: z.literal("ipv4", "the sandbox knows IPv4 only").optional(),
  subnetMappings: z
    .array(z.strictObject({ subnetId: text, allocationId: text }))
    .min(1, "exactly one of subnetMappings and subnets must be set; the sandbox knows subnetMappings only"),
  // One that is made without any can never get some.
  securityGroups: z.array(text).min(1, "the sandbox knows load balancers with security groups only"),
  enableCrossZoneLoadBalancing: z.boolean().optional(),
  enableDeletionProtection: z.boolean().optional(),
  tags,
});

const seconds = (least: number, most: number) => z.int().min(least).max(most);

const healthCheck = z
  .strictObject({
    enabled: z.literal(true, "health checks of instances are always on").optional(),
    protocol: z.enum(["HTTP", "TCP"]).optional(),
    port: text
      .refine(
        (value) =>
          value === "traffic-port" || (/^\d+$/.test(value) && Number(value) >= 1 && Number(value) <= 65_535),
        'must be a valid port number (1-65536) or "traffic-port"',
      )
      .optional(),
    path: text.min(1).max(1024).startsWith("/").optional(),
    matcher: text.regex(/^\d{3}([-,]\d{3})*$/, "is no list of status codes").optional(),
    interval: seconds(5, 300).optional(),
    timeout: seconds(2, 120).optional(),
    healthyThreshold: seconds(2, 10).optional(),
    unhealthyThreshold: seconds(2, 10).optional(),
  })
  .refine(
    ({ protocol, path, matcher }) => protocol !== "TCP" || (path === undefined && matcher === undefined),
    'path and matcher cannot be specified when protocol is "TCP"',
  )
  .refine(
    // AWS's time-outs where none is set; the provider sends its own interval in any case.
    ({ protocol, interval = 30, timeout = protocol === "TCP" ? 10 : 6 }) => timeout <= interval,
    "the health check's timeout (6 s for HTTP and 10 s for TCP by default) is longer than its interval",
  );

const targetGroup = z.strictObject({
  name,
  targetType: z.literal("instance", "the sandbox knows targets of type instance only").optional(),
  protocol: z.literal("TCP", "the sandbox knows TCP only"),
  port,
  vpcId: text,
  proxyProtocolV2: z.boolean().optional(),
  preserveClientIp: z.literal(
    "false",
    'the sandbox hides the client from its targets only: set it to "false"',
  ),
  deregistrationDelay: seconds(0, 3600).optional(),
  connectionTermination: z.boolean().optional(),
  loadBalancingCrossZoneEnabled: z.enum(["true", "false", "use_load_balancer_configuration"]).optional(),
  healthCheck: healthCheck.optional(),
  targetHealthStates: z
    .array(
      z
        .strictObject({
          enableUnhealthyConnectionTermination: z.boolean(),
          unhealthyDrainingInterval: seconds(0, 360_000).optional(),
        })
        .refine(
          (state) => !state.enableUnhealthyConnectionTermination || !state.unhealthyDrainingInterval,
          "unhealthyDrainingInterval needs enableUnhealthyConnectionTermination: false",
        ),
    )
    .max(1)
    .optional(),
  tags,
});

const listener = z.strictObject({
  loadBalancerArn: arn,
  port,
  protocol: z.literal("TCP", "the sandbox knows TCP listeners only"),
  defaultActions: z
    .array(
      z.strictObject({
        type: z.literal("forward", "the sandbox knows the action forward only"),
        targetGroupArn: arn,
      }),
    )
    .length(1),
  tcpIdleTimeoutSeconds: seconds(60, 6000).optional(),
  tags,
});

const isKnown = (value: unknown) => !JSON.stringify(value ?? null).includes(unknownValue);

/** A network load balancer gets further subnets in place; everything else of them makes a new one. */
function subnetsThatReplace(
  { subnetMappings: olds = [] }: Values,
  { subnetMappings: news = [] }: Values,
): string[] {
  if (!isKnown(news)) return [];
  const [before, after] = [olds, news].map((list) => (list as unknown[]).map((one) => JSON.stringify(one)));
  const kept = before?.every((one) => after?.includes(one));
  return kept && (after?.length ?? 0) > (before?.length ?? 0) ? [] : ["subnetMappings"];
}

export const loadBalancingTypes: Record<string, ResourceType> = {
  "aws:lb/loadBalancer:LoadBalancer": inCloud("loadBalancer", loadBalancerCalls, {
    inputs: loadBalancer,
    autoName: "name",
    replaceOn: (olds, news) => ["name", "loadBalancerType", "internal", ...subnetsThatReplace(olds, news)],
    computed: ["arn", "arnSuffix", "dnsName", "vpcId", "zoneId"],
    updatable: true,
  }),
  "aws:lb/targetGroup:TargetGroup": inCloud("targetGroup", targetGroupCalls, {
    inputs: targetGroup,
    autoName: "name",
    replaceOn: ["name", "targetType", "protocol", "port", "vpcId"],
    computed: ["arn", "arnSuffix", "loadBalancerArns"],
    updatable: true,
  }),
  "aws:lb/listener:Listener": inCloud("listener", listenerCalls, {
    inputs: listener,
    replaceOn: ["loadBalancerArn"],
    computed: ["arn"],
    updatable: true,
  }),
};
