import * as pulumi from "@pulumi/pulumi";
import { delaysOf, describeCluster } from "./cluster/description";
import { examplePage } from "./cluster/haproxy-config";
import { sizeProblems } from "./cluster/sizes";
import { warnings } from "./cluster/warnings";
import { acmeAccountOf } from "./components/acme-account";
import { Balancers } from "./components/balancers";
import { Certificate, suppliedCertificate } from "./components/certificate";
import { CertificateAuthority } from "./components/certificate-authority";
import { DesiredState } from "./components/desired-state";
import { EntryAddress } from "./components/entry-address";
import { FurtherNodes } from "./components/further-nodes";
import { LoadBalancer } from "./components/load-balancer";
import { MachineSoftware } from "./components/machine-software";
import { Network } from "./components/network";
import { SecurityGroups } from "./components/security-groups";
import { StatusAccess } from "./components/status-access";
import { switchOver } from "./components/switch-over";
import { tagResources } from "./components/tags";
import { WcsCluster } from "./components/wcs-cluster";
import { licenseOf } from "./components/wcs-license";
import { loadConfig } from "./config/load";

const now = new Date();
const config = loadConfig(now, sizeProblems);
const { domain, hostedZone, nodeStack, permissionsBoundary, protect } = config;
const parameterPath = `/${pulumi.getProject()}/${pulumi.getStack()}`;
const described = describeCluster(config, parameterPath, delaysOf(process.env));
const { paths, externalNodes, balancers: names } = described;
const acme = described.acme !== undefined;

for (const warning of warnings(config, now)) pulumi.log.warn(warning);
tagResources();

const network = new Network("network", config);
const securityGroups = new SecurityGroups("wcs", { vpcId: network.vpcId, ingress: described.ingress });
const software = new MachineSoftware("software", { ...described.packages, protect });
const authority = new CertificateAuthority("certificate-ca", { domain, protect });
const supplied = suppliedCertificate(config);
const certificate = new Certificate("certificate", { domain, authority, supplied });
const acmeAccount = acmeAccountOf(described);
const statusAccess = new StatusAccess("status", { authority });

/** Inputs that balancers and nodes have in common. */
const machines = <Kind extends "balancer" | "node">(kind: Kind) => ({
  settings: described[kind],
  software: software[kind],
  instanceType: config[`${kind}InstanceType`],
  ami: config[`${kind}Ami`],
  securityGroup: securityGroups[kind],
  network,
  permissionsBoundary,
});

const { loadBalancer: securityGroup } = securityGroups;
const [firstSubnet, setFirstSubnet] = pulumi.deferredOutput<string>();
const entryArgs = { network, firstSubnet, balancers: config.balancers, protect };
const loadBalancer = securityGroup && new LoadBalancer("load-balancer", { ...entryArgs, securityGroup });
const balancerArgs = { ...machines("balancer"), names, acme, loadBalancer };
const balancers = new Balancers("balancers", balancerArgs, { dependsOn: securityGroups });
setFirstSubnet(balancers.first.subnetId);
const license = licenseOf(config, described.node);
const nodeArgs = { ...machines("node"), nodes: described.nodes };
const cluster = new WcsCluster("cluster", nodeArgs, { dependsOn: [securityGroups, ...license] });
const furtherNodes = new FurtherNodes("further-nodes", { externalNodes, nodeStack });

const servers = { nodes: cluster.backends, furtherBackends: furtherNodes.backends, balancers, loadBalancer };
const state = { described, ...servers, certificate, statusAccess };
const desiredState = new DesiredState("desired-state", state, { dependsOn: acmeAccount });

const serving = config.rollout === "wait" ? { desiredState, cluster, furtherNodes, statusAccess } : undefined;
const addressArgs = { balancer: balancers.first, loadBalancer, serving, protect };
const entry = paths.address ? [new EntryAddress("entry", addressArgs)] : [];
const ownAddresses = entry.map(({ publicAddress }) => publicAddress);
const addresses = pulumi.output([ownAddresses, loadBalancer?.addresses ?? []]).apply((all) => all.flat());
switchOver({
  paths,
  rollout: serving && { ...serving, described, addresses, balancers },
  record: hostedZone ? { domain, hostedZone, addresses } : undefined,
  dependsOn: [...entry, cluster, desiredState],
});

/** The guide's example page. */
export const url = `https://${domain}${examplePage}`;
export const websocketUrl = `wss://${domain}`;
/** The first of the addresses that clients connect to. */
export const balancerAddress = ownAddresses[0] ?? addresses.apply(([first]) => first);
/** The first DNS record of `domain`, and all. Make them by hand, unless `hostedZone` is set. */
export const dnsRecord = pulumi.interpolate`${domain}. A ${balancerAddress}`;
export const dnsRecords = addresses.apply((all) => all.map((address) => `${domain}. A ${address}`));
export const wcsNodes = cluster.addresses;
export const { haproxyConfig, revision } = desiredState;
/** The CA that clients have to trust; with `acme` only until the first public certificate; none with a user-supplied one. */
export const certificateAuthority = certificate.certificateAuthority ?? null;
/** The bucket with the machines' software, and the objects that this version of the stack needs. */
export const { bucket: softwareBucket, keys: softwareObjects } = software;
