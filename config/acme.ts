import { httpPort } from "../cluster/contract";
import { fixCommand, show } from "./messages";
import { shareOfAllAddresses } from "./networks";
import type { ConfigValues } from "./schema";

/**
 * Endings of names that no public CA certifies, since nobody can own such a name (RFC 6761 and IANA, "Special-Use Domain
 * Names"; ICANN keeps the others free for private networks).
 */
const privateEndings = [
  ...["alt", "arpa", "example", "invalid", "local", "localhost", "onion", "test"],
  ...["corp", "home", "internal", "intranet", "lan", "localdomain", "mail", "private"],
];

/** Whether a directory is one of Let's Encrypt's, for trials or not. Others may be a company's own. */
function isLetsEncrypt(directory: string): boolean {
  return new URL(directory).hostname.endsWith(".letsencrypt.org");
}

/** Checks that an ACME directory can certify the domain. Gives a line for each problem. */
export function acmeProblems(config: ConfigValues): string[] {
  const { acme, domain, clientCidrs } = config;
  if (!acme) return [];
  const problems: string[] = [];
  const supplied = (["tlsCertificate", "tlsChain", "tlsPrivateKey"] as const).filter((key) => config[key]);
  if (supplied.length > 0) {
    problems.push(
      `acme is set, and so is ${supplied.join(" and ")}; only one of them can give the certificate. Remove the other with: ` +
        `pulumi config rm acme, or ${supplied.map((key) => `pulumi config rm ${key}`).join(" && ")}`,
    );
  }
  if (shareOfAllAddresses(clientCidrs) < 1) {
    problems.push(
      `clientCidrs is ${show(clientCidrs)}; with acme it must be ["0.0.0.0/0"], since the directory asks on port ${httpPort} ` +
        "whether the domain leads to this stack, and does not say from which addresses. Open it with: " +
        "pulumi config rm clientCidrs, or do without a public certificate: pulumi config rm acme",
    );
  }
  const ending = domain.split(".").at(-1) ?? "";
  if (isLetsEncrypt(acme.directory) && privateEndings.includes(ending)) {
    problems.push(
      `domain is ${show(domain)}; with acme and Let's Encrypt it must be a name on the internet, and no public CA certifies ` +
        `names that end with .${ending}. Set it with: ${fixCommand(["domain"])}, or name the directory of your own CA: ` +
        "pulumi config set --path acme.directory https://ca.example.com/directory",
    );
  }
  return problems;
}
