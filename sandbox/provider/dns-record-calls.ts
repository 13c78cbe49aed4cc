import { type ApiCall, on, type ResourceCalls, type Subject } from "../rights/calls";

function change(action: "CREATE" | "UPSERT" | "DELETE") {
  return ({ inputs }: Subject): ApiCall[] => {
    const zone = `arn:aws:route53:::hostedzone/${inputs.zoneId}`;
    const context = {
      "route53:ChangeResourceRecordSetsActions": [action],
      "route53:ChangeResourceRecordSetsNormalizedRecordNames": [String(inputs.name).toLowerCase()],
      "route53:ChangeResourceRecordSetsRecordTypes": [String(inputs.type)],
    };
    return [
      ...on({ resource: zone }, "route53:GetHostedZone"),
      ...on({ resource: zone, context }, "route53:ChangeResourceRecordSets"),
      // Repeated until all name servers have the record.
      ...on({ resource: "arn:aws:route53:::change/C0123456789" }, "route53:GetChange"),
    ];
  };
}

export const dnsRecordCalls: ResourceCalls = {
  source: "route53/record.go",
  create: change("CREATE"),
  read: ({ inputs }) =>
    on(
      { resource: `arn:aws:route53:::hostedzone/${inputs.zoneId}` },
      "route53:GetHostedZone",
      "route53:ListResourceRecordSets",
    ),
  update: { ttl: change("UPSERT"), records: change("UPSERT") },
  remove: change("DELETE"),
};
