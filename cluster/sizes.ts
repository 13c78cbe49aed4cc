import type { ConfigValues } from "../config/schema";
import { haproxySettings } from "../settings";
import { checkStateFits, renderPem, renderSecret, TooLargeError } from "../userdata/desired-state";

/** What does not fit into the documents that the balancer gets, one line each. The certificate has to be readable. */
export function sizeProblems(config: ConfigValues): string[] {
  const { tlsCertificate, tlsChain, tlsPrivateKey } = config;
  try {
    const names = [...config.nodes, ...config.externalNodes.map(({ name }) => name)];
    checkStateFits(haproxySettings(config), names);
    if (tlsCertificate && tlsPrivateKey) {
      renderSecret(renderPem(tlsCertificate, tlsChain, tlsPrivateKey), "0".repeat(64));
    }
    return [];
  } catch (error) {
    if (error instanceof TooLargeError) return [error.message];
    throw error;
  }
}
