import * as pulumi from "@pulumi/pulumi";
import { renderHaproxyBase } from "./cluster/haproxy-config";
import { sizeProblems } from "./cluster/sizes";
import { Balancer } from "./components/balancer";
import { Certificate } from "./components/certificate";
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
import {
  balancerSettings,
  haproxySettings,
  nodeSettings,
  ownCertificate,
  packageSources,
  warnings,
} from "./settings";
import { examplePage } from "./userdata/balancer";

const now = new Date();
const config = loadConfig(now, sizeProblems);
const parameterPath = `/${pulumi.getProject()}/${pulumi.getStack()}`;
const settings = balancerSettings(config, parameterPath);
const haproxyBase = renderHaproxyBase(haproxySettings(config));

for (const warning of warnings(config, now)) pulumi.log.warn(warning);

tagResources();

const network = new Network("network", { vpcId: config.vpcId, subnetIds: config.subnetIds });

const securityGroups = new SecurityGroups("wcs", {
  vpcId: network.vpcId,
  clientCidrs: config.clientCidrs,
  adminCidrs: config.adminCidrs,
  ssh: config.sshPublicKey !== undefined,
  openPorts: config.openPorts,
  balancerCidrs: config.balancerCidrs,
  directAccess: config.directAccess,
});

const software = new MachineSoftware("software", { ...packageSources(config), protect: config.protect });

const certificate = new Certificate("certificate", {
  domain: config.domain,
  own: ownCertificate(config),
  protect: config.protect,
});

const balancer = new Balancer(
  "balancer",
  {
    settings,
    software: software.balancer,
    instanceType: config.balancerInstanceType,
    ami: config.balancerAmi,
    subnetId: network.subnetFor("balancer"),
    securityGroup: securityGroups.balancer,
    permissionsBoundary: config.permissionsBoundary,
    protect: config.protect,
  },
  { dependsOn: securityGroups },
);

if (config.hostedZone) {
  const { domain, hostedZone } = config;
  new DnsRecord("domain", { domain, hostedZone, address: balancer.publicAddress });
}

const license = config.wcsLicenseKey
  ? new WcsLicense("wcs-license", { parameter: `${parameterPath}/wcs-license`, key: config.wcsLicenseKey })
  : undefined;

const cluster = new WcsCluster(
  "cluster",
  {
    nodes: config.nodes,
    network,
    balancerAddresses: [balancer.privateAddress, ...config.balancerCidrs],
    settings: nodeSettings(config, license?.parameter),
    software: software.node,
    instanceType: config.nodeInstanceType,
    ami: config.nodeAmi,
    securityGroup: securityGroups.node,
    permissionsBoundary: config.permissionsBoundary,
  },
  { dependsOn: license ? [securityGroups, license] : securityGroups },
);
const nodes = Object.entries(cluster.nodes);
const furtherNodes = new FurtherNodes("further-nodes", {
  externalNodes: config.externalNodes,
  nodeStack: config.nodeStack,
});

const desiredState = new DesiredState("desired-state", {
  stateParameter: settings.stateParameter,
  secretParameter: settings.secretParameter,
  haproxyBase,
  stickiness: config.stickiness,
  nodes: Object.fromEntries(nodes.map(([name, node]) => [name, node.backend])),
  furtherBackends: furtherNodes.backends,
  certificate,
  drainTimeoutSeconds: config.drainTimeoutSeconds,
});

if (config.rollout === "wait") {
  new Rollout(
    "rollout",
    {
      domain: config.domain,
      balancerAddress: balancer.publicAddress,
      balancerInstanceId: balancer.instanceId,
      revision: desiredState.revision,
      serverNames: nodes.map(([, node]) => node.serverName),
      furtherBackends: furtherNodes.backends,
      drainTimeoutSeconds: config.drainTimeoutSeconds,
      trusted: certificate.trusted,
      statusToken: certificate.statusToken,
    },
    { dependsOn: [balancer, cluster, desiredState] },
  );
}

/** The guide's example page. */
export const url = `https://${config.domain}${examplePage}`;
export const websocketUrl = `wss://${config.domain}`;
export const balancerAddress = balancer.publicAddress;
/** The record that `domain` needs: to be made by hand, or made in `hostedZone`. */
export const dnsRecord = pulumi.interpolate`${config.domain}. A ${balancer.publicAddress}`;
export const wcsNodes = nodes.map(([name, node]) => ({
  name,
  privateAddress: node.privateAddress,
  publicAddress: node.publicAddress,
  instanceId: node.instanceId,
}));
export const haproxyConfig = desiredState.haproxyConfig;
/** What to trust besides the system's CAs; none with a certificate of one's own. */
export const certificateAuthority = certificate.certificateAuthority ?? null;
export const revision = desiredState.revision;
/** Where machines fetch their software, and what of it this version of the stack needs. */
export const softwareBucket = software.bucket;
export const softwareObjects = software.keys;
