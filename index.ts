import * as pulumi from "@pulumi/pulumi";
import { describeCluster } from "./cluster/description";
import { sizeProblems } from "./cluster/sizes";
import { warnings } from "./cluster/warnings";
import { Balancer } from "./components/balancer";
import { Certificate, ownCertificate } from "./components/certificate";
import { DesiredState } from "./components/desired-state";
import { DnsRecord } from "./components/dns-record";
import { FurtherNodes } from "./components/further-nodes";
import { MachineSoftware } from "./components/machine-software";
import { Network } from "./components/network";
import { Rollout } from "./components/rollout";
import { SecurityGroups } from "./components/security-groups";
import { tagResources } from "./components/tags";
import { WcsCluster } from "./components/wcs-cluster";
import { WcsLicense } from "./components/wcs-license";
import { loadConfig } from "./config/load";
import { examplePage } from "./userdata/balancer";

const now = new Date();
const config = loadConfig(now, sizeProblems);
const { domain, hostedZone, permissionsBoundary, protect } = config;
const described = describeCluster(config, `/${pulumi.getProject()}/${pulumi.getStack()}`);

for (const warning of warnings(config, now)) pulumi.log.warn(warning);
tagResources();

const network = new Network("network", config);
const securityGroups = new SecurityGroups("wcs", { vpcId: network.vpcId, ingress: described.ingress });
const software = new MachineSoftware("software", { ...described.packages, protect });
const certificate = new Certificate("certificate", { domain, own: ownCertificate(config), protect });

const balancer = new Balancer(
  "balancer",
  {
    settings: described.balancer,
    software: software.balancer,
    instanceType: config.balancerInstanceType,
    ami: config.balancerAmi,
    subnetId: network.subnetFor("balancer"),
    securityGroup: securityGroups.balancer,
    permissionsBoundary,
    protect,
  },
  { dependsOn: securityGroups },
);
const address = balancer.publicAddress;
if (hostedZone) new DnsRecord("domain", { domain, hostedZone, address });

const { licenseParameter: parameter } = described.node;
const license =
  parameter && config.wcsLicenseKey
    ? [new WcsLicense("wcs-license", { parameter, key: config.wcsLicenseKey })]
    : [];
const cluster = new WcsCluster(
  "cluster",
  {
    nodes: described.nodes,
    settings: described.node,
    software: software.node,
    instanceType: config.nodeInstanceType,
    ami: config.nodeAmi,
    network,
    securityGroup: securityGroups.node,
    balancerAddress: balancer.privateAddress,
    permissionsBoundary,
  },
  { dependsOn: [securityGroups, ...license] },
);
const { backends: furtherBackends } = new FurtherNodes("further-nodes", {
  externalNodes: described.externalNodes,
  nodeStack: config.nodeStack,
});

const desiredState = new DesiredState("desired-state", {
  cluster: described,
  nodes: cluster.backends,
  furtherBackends,
  certificate,
});

if (config.rollout === "wait") {
  const { drainTimeoutSeconds } = config;
  const args = { domain, balancer, cluster, furtherBackends, desiredState, certificate, drainTimeoutSeconds };
  new Rollout("rollout", args, { dependsOn: [balancer, cluster, desiredState] });
}

/** The guide's example page. */
export const url = `https://${domain}${examplePage}`;
export const websocketUrl = `wss://${domain}`;
export const balancerAddress = address;
/** The record that `domain` needs: to be made by hand, or made in `hostedZone`. */
export const dnsRecord = pulumi.interpolate`${domain}. A ${address}`;
export const wcsNodes = cluster.addresses;
export const { haproxyConfig, revision } = desiredState;
/** What to trust besides the system's CAs; none with a certificate of one's own. */
export const certificateAuthority = certificate.certificateAuthority ?? null;
/** Where machines fetch their software, and what of it this version of the stack needs. */
export const { bucket: softwareBucket, keys: softwareObjects } = software;
