import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterDescription } from "../cluster/description";
import { renderDesiredState, renderSecret } from "../cluster/desired-state";
import { type Backend, renderServer } from "../cluster/haproxy-config";
import type { Balancers } from "./balancers";
import type { Certificate } from "./certificate";
import type { LoadBalancer } from "./load-balancer";
import type { StatusAccess } from "./status-access";
import { balancerTags as tags } from "./tags";

export interface DesiredStateArgs {
  described: ClusterDescription;
  /** This stack's nodes by their names, and then the servers that it does not make. */
  nodes: Record<string, pulumi.Output<Backend>>;
  furtherBackends: pulumi.Output<Backend[]>;
  balancers: Balancers;
  /** @default clients come by the Elastic IP */
  loadBalancer?: LoadBalancer;
  /** The certificate for clients. */
  certificate: Certificate;
  /** The certificate and token for `pulumi up`. */
  statusAccess: StatusAccess;
}

/** The SSM parameters from which every balancer fetches its desired state and its secrets. */
export class DesiredState extends pulumi.ComponentResource {
  readonly revision: pulumi.Output<string>;
  /** How often the document has been written. */
  readonly version: pulumi.Output<number>;
  /** haproxy.cfg, with one value for each server: in a preview an unknown address hides only its own line. */
  readonly haproxyConfig: {
    base: string;
    servers: Record<string, pulumi.Output<string>>;
    furtherServers: pulumi.Output<string[]>;
  };

  constructor(name: string, args: DesiredStateArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:DesiredState", name, {}, opts);
    const { described, nodes, furtherBackends, balancers, loadBalancer, certificate, statusAccess } = args;
    const { stateParameter, secretParameter, statusParameter } = described.balancer;
    const state = pulumi
      .output({
        own: Object.values(nodes),
        further: furtherBackends,
        balancerInstances: balancers.instances,
        targetGroups: loadBalancer?.targetGroups ?? [],
        certificateHash: certificate.hash,
        statusHash: statusAccess.hash,
      })
      .apply(({ own, further, ...known }) =>
        renderDesiredState({ ...described, ...known, backends: [...own, ...further] }),
      );
    const secureString = (
      suffix: string,
      parameter: string,
      description: string,
      value: pulumi.Output<string>,
    ) =>
      new aws.ssm.Parameter(
        `${name}-${suffix}`,
        { name: parameter, type: "SecureString", tier: "Advanced", description, value, tags },
        { parent: this },
      );
    const secret = secureString(
      "secret",
      secretParameter,
      "Certificate, chain and key that clients get",
      certificate.pem.apply(renderSecret),
    );
    const status = secureString(
      "status",
      statusParameter,
      "Certificate and key of the balancers' status, and the token for its details",
      statusAccess.secret,
    );
    const document = new aws.ssm.Parameter(
      `${name}-document`,
      {
        name: stateParameter,
        type: "String",
        tier: "Advanced",
        description: "What the balancer is to run: gzip and base64 of JSON",
        // The document has no secrets. In a preview, `value` would be hidden.
        insecureValue: state.document,
        tags,
      },
      { parent: this, dependsOn: [secret, status] },
    );
    this.revision = state.revision;
    this.version = document.version;
    const lineOf = (backend: Backend) => renderServer(backend, described.serverSettings);
    this.haproxyConfig = {
      base: described.haproxyBase,
      servers: Object.fromEntries(
        Object.entries(nodes).map(([node, backend]) => [node, backend.apply(lineOf)]),
      ),
      furtherServers: furtherBackends.apply((backends) => backends.map(lineOf)),
    };
    this.registerOutputs({ revision: this.revision });
  }
}
