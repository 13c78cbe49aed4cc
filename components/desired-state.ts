import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { ClusterDescription } from "../cluster/description";
import { renderDesiredState, renderSecret } from "../cluster/desired-state";
import { type Backend, renderServer } from "../cluster/haproxy-config";
import type { Certificate } from "./certificate";
import { balancerTags as tags } from "./tags";

export interface DesiredStateArgs {
  cluster: ClusterDescription;
  /** This stack's nodes by their names, and then the servers that it does not make. */
  nodes: Record<string, pulumi.Output<Backend>>;
  furtherBackends: pulumi.Output<Backend[]>;
  certificate: Certificate;
}

/** What the balancer is to run, where it fetches it. */
export class DesiredState extends pulumi.ComponentResource {
  readonly revision: pulumi.Output<string>;
  /** haproxy.cfg, one value a server: an address that is not known yet hides only its own line in a preview. */
  readonly haproxyConfig: {
    base: string;
    servers: Record<string, pulumi.Output<string>>;
    furtherServers: pulumi.Output<string[]>;
  };

  constructor(name: string, args: DesiredStateArgs, opts?: pulumi.ComponentResourceOptions) {
    super("wcs-balancer:balancer:DesiredState", name, {}, opts);
    const { cluster, nodes, furtherBackends, certificate } = args;
    const { stateParameter, secretParameter } = cluster.balancer;
    const state = pulumi
      .all([pulumi.all(Object.values(nodes)), furtherBackends, certificate.hash])
      .apply(([own, further, certificateHash]) =>
        renderDesiredState({ ...cluster, backends: [...own, ...further], certificateHash }),
      );
    const secret = new aws.ssm.Parameter(
      `${name}-secret`,
      {
        name: secretParameter,
        type: "SecureString",
        tier: "Advanced",
        description: "Certificate, chain and key of the balancer, and the token for its detailed status",
        value: pulumi
          .all([certificate.pem, certificate.statusToken])
          .apply(([pem, token]) => renderSecret(pem, token)),
        tags,
      },
      { parent: this },
    );
    new aws.ssm.Parameter(
      `${name}-document`,
      {
        name: stateParameter,
        type: "String",
        tier: "Advanced",
        description: "What the balancer is to run: gzip and base64 of JSON",
        // Holds no secret, and would be hidden in a preview as `value`.
        insecureValue: state.document,
        tags,
      },
      { parent: this, dependsOn: secret },
    );
    this.revision = state.revision;
    const lineOf = (backend: Backend) => renderServer(backend, cluster.stickiness);
    this.haproxyConfig = {
      base: cluster.haproxyBase,
      servers: Object.fromEntries(
        Object.entries(nodes).map(([node, backend]) => [node, backend.apply(lineOf)]),
      ),
      furtherServers: furtherBackends.apply((backends) => backends.map(lineOf)),
    };
    this.registerOutputs({ revision: this.revision });
  }
}
