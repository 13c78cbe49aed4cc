/** Writes the documentation that is made from the sources: the configuration's reference and the picture. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { configSchema, secretKeys } from "../config/schema";

const docs = join(__dirname, "../docs");

interface Field {
  safeParse(value: unknown): { success: boolean; data?: unknown; error?: { issues: { message: string }[] } };
  meta?(): { description?: string } | undefined;
}

/** What a key's rule says of a value that nothing allows. */
function allowedBy(field: Field): string {
  const message = field.safeParse(Symbol("nothing")).error?.issues[0]?.message ?? "";
  return message.replace(/^it must be /, "");
}

function defaultOf(field: Field): string {
  const { success, data } = field.safeParse(undefined);
  if (!success) return "required";
  return data === undefined ? "none" : `\`${JSON.stringify(data)}\``;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}

/** docs/configuration.md: every key of the schema. */
export function renderConfigurationReference(): string {
  const rows = Object.entries(configSchema.shape).map(([key, schema]) => {
    const field = schema as Field;
    const secret = (secretKeys as readonly string[]).includes(key) ? " (secret)" : "";
    const { description = "" } = field.meta?.() ?? {};
    return `| \`${key}\`${secret} | ${defaultOf(field)} | ${cell(description)} | ${cell(allowedBy(field))} |`;
  });
  return `# Configuration

Every key of a stack, in the namespace \`wcs-balancer\`. This page is made from the schema in \`config/schema.ts\` by
\`npm run docs\`; the tests see to it that it is current. A key is set with \`pulumi config set KEY VALUE\`, one in a list
or object with \`--path\`, a secret with \`--secret\`:

\`\`\`sh aws
pulumi config set maxConnections 8000
pulumi config set --path 'checks.cpu' 80
pulumi config set --path 'nodes[2]' wcs-3
pulumi config set --secret tlsPrivateKey < key.pem
\`\`\`

A value that is not allowed, an unknown key and a secret in clear text end \`pulumi up\` before anything changes, each
with one line that names the key, the value, what is allowed and the command that mends it.

| key | default | meaning | allowed |
|---|---|---|---|
${rows.join("\n")}

One of \`wcsPackage\` and \`wcsPackageUrl\` is required unless \`nodeAmi\` is set; \`subnetIds\` goes with \`vpcId\`, \`tlsPrivateKey\`
with \`tlsCertificate\`, \`adminCidrs\` with \`sshPublicKey\`.

## What a change does

| changed | what happens |
|---|---|
| \`nodes\`, \`externalNodes\`, \`nodeStack\` | HAProxy gets and drains servers at run time, without a reload |
| \`checks\`, \`drainTimeoutSeconds\`, certificate | applied at run time, without a reload |
| \`algorithm\`, \`stickiness\`, \`maxConnections\`, \`maxConnectionsPerNode\`, \`maxConnectionsPerAddress\`, \`trustedCidrs\`, \`frameAncestors\` | a reload that closes no socket |
| \`nodeInstanceType\`, \`nodeAmi\`, \`wcsPackage\` or \`wcsPackageUrl\`, \`wcsProperties\`, \`wcsHeap\`, \`wcsLicenseKey\`, \`javaPackage\`, \`agentListener\`, \`balancerCidrs\` | new nodes first, then the old ones are drained |
| \`balancerInstanceType\`, \`balancerAmi\`, \`domain\`, \`webSdkUrl\` and its companions | a new balancer at the same address; clients wait while it boots |
| \`sshPublicKey\` | new nodes and a new balancer |
| this project's \`machines/\` | what is of nodes: new nodes; what is of the balancer: a new balancer. The pull request's comment says which |
| \`permissionsBoundary\` | the machines' roles, in place |
| \`clientCidrs\`, \`adminCidrs\`, \`openPorts\`, \`directAccess\` | security group rules only |
`;
}

/** docs/architecture.svg, drawn from architecture.dot. */
export async function renderArchitecture(): Promise<string> {
  // An ES module, which this one is not.
  const { Graphviz } = await import("@hpcc-js/wasm-graphviz");
  const graphviz = await Graphviz.load();
  return graphviz.dot(readFileSync(join(docs, "architecture.dot"), "utf8"));
}

async function main(): Promise<void> {
  writeFileSync(join(docs, "configuration.md"), renderConfigurationReference());
  writeFileSync(join(docs, "architecture.svg"), await renderArchitecture());
}

if (require.main === module) {
  main().catch((error: Error) => {
    console.error(`docs: ${error.message}`);
    process.exitCode = 1;
  });
}
