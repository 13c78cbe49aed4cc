import { acmeProblems } from "./acme";
import { certificateProblems } from "./certificate";
import { fixCommand, show } from "./messages";
import type { ConfigValues } from "./schema";

/** Finds values that do not fit into the documents of machines, one line each. `cluster/` renders and measures them. */
export type SizeCheck = (config: ConfigValues) => string[];

/** The rules about several keys, which zod cannot check. Each rule gives a message or nothing. */
export function contradictions(config: ConfigValues, now: Date, sizeProblems: SizeCheck): string[] {
  const problems: string[] = [];
  problems.push(...packageProblems(config));
  if (Boolean(config.vpcId) !== Boolean(config.subnetIds)) {
    const missing = config.vpcId ? "subnetIds" : "vpcId";
    problems.push(
      `${missing} is missing; vpcId and subnetIds go together. Set it with: ${fixCommand([missing])}`,
    );
  }
  if (config.entry === "address" && config.balancers > 1) {
    problems.push(
      `entry is "address" and balancers is ${config.balancers}; the Elastic IP leads to one balancer only, so several ` +
        `need loadBalancer or both. Set it with: ${fixCommand(["entry"])}`,
    );
  }
  if (config.sshPublicKey && config.adminCidrs.length === 0) {
    problems.push(
      "adminCidrs is empty; with sshPublicKey it must name the networks that SSH is open to. " +
        `Set it with: ${fixCommand(["adminCidrs"])}`,
    );
  }
  const twice = config.externalNodes.find(({ name }) => config.nodes.includes(name));
  if (twice) {
    problems.push(
      `externalNodes has ${show(twice.name)}, which is in nodes too; each name must be in one of them only. ` +
        `Set it with: ${fixCommand(["externalNodes"])}`,
    );
  }
  problems.push(...acmeProblems(config));
  const ofCertificate = certificateProblems(config, now);
  // Sizes are measured on the documents, which need a certificate that can be read.
  return [...problems, ...(ofCertificate.length > 0 ? ofCertificate : sizeProblems(config))];
}

function packageProblems(config: ConfigValues): string[] {
  const { nodeAmi, wcsPackage, wcsPackageUrl, wcsPackageSha256, webSdkUrl, webSdkSha256 } = config;
  const problems: string[] = [];
  if (!nodeAmi && !wcsPackage && !wcsPackageUrl) {
    problems.push(
      "wcsPackage is missing; it must be the WCS tarball, a file or s3://BUCKET/KEY, unless nodeAmi names an image " +
        `with WCS in it. Set it with: ${fixCommand(["wcsPackage"])}`,
    );
  }
  if (wcsPackage && wcsPackageUrl) {
    problems.push(
      `wcsPackage is ${show(wcsPackage)} and wcsPackageUrl is ${show(wcsPackageUrl)}; only one of them can be the ` +
        "tarball. Remove the other with: pulumi config rm wcsPackageUrl",
    );
  }
  if ((wcsPackageUrl || wcsPackage?.startsWith("s3://")) && !wcsPackageSha256) {
    problems.push(
      "wcsPackageSha256 is missing; a node installs only a tarball whose checksum it knows. " +
        `Set it with: ${fixCommand(["wcsPackageSha256"])}`,
    );
  }
  if (webSdkUrl && !webSdkSha256) {
    problems.push(
      "webSdkSha256 is missing; the balancer serves only a bundle whose checksum it knows. " +
        `Set it with: ${fixCommand(["webSdkSha256"])}`,
    );
  }
  if (webSdkSha256 && !webSdkUrl) {
    problems.push(
      "webSdkUrl is missing; webSdkSha256 is the checksum of the bundle there, and the default bundle needs none. " +
        `Set it with: ${fixCommand(["webSdkUrl"])}`,
    );
  }
  return problems;
}
