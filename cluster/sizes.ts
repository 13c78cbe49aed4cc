import type { ConfigValues } from "../config/schema";
import { type ClusterDescription, describeCluster } from "./description";
import { renderDesiredState, renderPem, renderSecret, sha256, TooLargeError } from "./desired-state";
import { serverName } from "./haproxy-config";

/** What does not fit into the documents that the balancer gets, one line each. The certificate has to be readable. */
export function sizeProblems(config: ConfigValues): string[] {
  const { tlsCertificate, tlsChain, tlsPrivateKey } = config;
  try {
    checkStateFits(describeCluster(config, ""), config.trustedCidrs.length);
    if (tlsCertificate && tlsPrivateKey) {
      renderSecret(renderPem(tlsCertificate, tlsChain, tlsPrivateKey), "0".repeat(64));
    }
    return [];
  } catch (error) {
    if (error instanceof TooLargeError) return [error.message];
    throw error;
  }
}

/**
 * Checks before anything is created that the desired state of so many nodes will fit, with instance ids and
 * addresses of nodes that compress as badly as real ones.
 * @throws TooLargeError that names the key
 */
function checkStateFits(cluster: ClusterDescription, networks: number): void {
  const nodes = cluster.nodes.map((name, index) => {
    const digest = Buffer.from(sha256(`${name} ${index}`), "hex");
    return {
      serverName: serverName(name, digest.toString("hex", 0, 8)),
      address: `172.${digest[8]}.${digest[9]}.${digest[10]}`,
    };
  });
  const backends = [...nodes, ...cluster.externalNodes];
  try {
    renderDesiredState({ ...cluster, backends, certificateHash: sha256("any certificate") });
  } catch (error) {
    if (!(error instanceof TooLargeError)) throw error;
    const andNetworks = networks > 0 ? ` and trustedCidrs ${networks} networks` : "";
    throw new TooLargeError(
      `nodes has ${backends.length} names${andNetworks}; that is more than the desired state can hold (${error.message}). ` +
        `It must be fewer: ${networks > 0 ? "put networks together into larger ones, or " : ""}split them over several stacks.`,
    );
  }
}
