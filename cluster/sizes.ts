import type { ConfigValues } from "../config/schema";
import { agentRequestVersion, loadBalancerHttpPort, loadBalancerHttpsPort } from "../contract/facts";
import { type ClusterDescription, defaultDelays, describeCluster } from "./description";
import { renderDesiredState, renderPem, renderSecret, sha256, TooLargeError } from "./desired-state";
import { serverName } from "./haproxy-config";

/** Finds values that do not fit into the balancer's documents, one line each. The certificate must be readable. */
export function sizeProblems(config: ConfigValues): string[] {
  const { tlsCertificate, tlsChain, tlsPrivateKey } = config;
  try {
    checkStateFits(describeCluster(config, "", defaultDelays), config.trustedCidrs.length);
    if (tlsCertificate && tlsPrivateKey) {
      renderSecret(renderPem(tlsCertificate, tlsChain, tlsPrivateKey));
    }
    return [];
  } catch (error) {
    if (error instanceof TooLargeError) return [error.message];
    throw error;
  }
}

/** Target groups with the longest possible ARNs: a load balancer makes the document larger. */
const madeUpTargetGroups = ["https", "http"].map((name, index) => ({
  arn: `arn:aws-us-gov:elasticloadbalancing:us-gov-east-1:123456789012:targetgroup/load-balancer-${name}-1a2b3c4/5d6e7f8091a2b3c${index}`,
  port: index === 0 ? loadBalancerHttpsPort : loadBalancerHttpPort,
}));

/**
 * Checks before anything is created that the desired state of the configured nodes will fit. Made-up instance ids and
 * addresses compress as badly as real ones.
 * @throws TooLargeError that names the key
 */
function checkStateFits(cluster: ClusterDescription, networks: number): void {
  const nodes = cluster.nodes.map((name, index) => {
    const digest = Buffer.from(sha256(`${name} ${index}`), "hex");
    return {
      serverName: serverName(name, digest.toString("hex", 0, 8)),
      address: `172.${digest[8]}.${digest[9]}.${digest[10]}`,
      agentRequest: agentRequestVersion,
    };
  });
  const backends = [...nodes, ...cluster.externalNodes];
  try {
    const hashes = { certificateHash: sha256("any certificate"), statusHash: sha256("any status") };
    const balancerInstances = Object.fromEntries(
      cluster.balancers.map((name) => [name, `i-${sha256(name).slice(0, 17)}`]),
    );
    const targetGroups = cluster.paths.loadBalancer ? madeUpTargetGroups : [];
    renderDesiredState({ ...cluster, backends, ...hashes, balancerInstances, targetGroups });
  } catch (error) {
    if (!(error instanceof TooLargeError)) throw error;
    const andNetworks = networks > 0 ? ` and trustedCidrs ${networks} networks` : "";
    throw new TooLargeError(
      `nodes has ${backends.length} names${andNetworks}; that is more than the desired state can hold (${error.message}). ` +
        `Use fewer: ${networks > 0 ? "merge networks into larger ones, or " : ""}split the nodes over several stacks.`,
    );
  }
}
