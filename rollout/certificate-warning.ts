/** Says at the end of a rollout that the ACME directory has not issued a certificate yet. Pure functions. */
import { httpPort } from "../cluster/contract";
import type { AcmeStatus, ClusterStatus } from "../cluster/status";

/** The facts that an operator needs for the certificate. */
interface CertificateWish {
  domain: string;
  /** The addresses that the domain must lead to. */
  addresses: string[];
  /** Whether the stack makes the DNS record itself. */
  makesRecord: boolean;
}

/** The progress of a balancer, as text for an operator. */
function progress({ state, reason, nextTry }: AcmeStatus): string {
  const now = reason || (state === "ordering" ? "an order is under way" : "there was no try yet");
  return nextTry && state === "waiting" ? `${now} (next try at ${nextTry})` : now;
}

/** Balancers that serve no public certificate yet, with the reason. */
function pending({ balancers }: ClusterStatus, wanted: Record<string, string>): string[] {
  const names = Object.entries(wanted);
  const found = names.flatMap(([name, instance]) => {
    const acme = balancers.find((member) => member.instance === instance)?.status?.acme;
    if (!acme || acme.state === "issued") return [];
    return [{ name, text: progress(acme) }];
  });
  return found.map(({ name, text }) => `${names.length > 1 ? name : "the balancer"}: ${text}`);
}

/**
 * The warning of a rollout whose balancers serve no public certificate yet; none when all do. The rollout ends all the
 * same: the certificate comes when DNS leads here, which may need its addresses.
 * @param wanted the balancers' instances by their names
 */
export function pendingCertificateWarnings(
  cluster: ClusterStatus,
  wanted: Record<string, string>,
  { domain, addresses, makesRecord }: CertificateWish,
): string[] {
  const reasons = pending(cluster, wanted);
  if (reasons.length === 0) return [];
  const records = addresses.map((address) => `${domain} A ${address}`).join(", ");
  const todo = makesRecord
    ? `This stack makes the DNS record itself (${records}). When resolvers give it`
    : `Make exactly these DNS records for it: ${records}. When resolvers give them`;
  return [
    `${domain} has no public certificate yet, so browsers do not trust it: ${reasons.join("; ")}. ${todo} and port ` +
      `${httpPort} can be reached, the certificate comes automatically within ten minutes`,
  ];
}
