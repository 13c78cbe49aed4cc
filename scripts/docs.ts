/** Writes the documentation that is made from the sources: the configuration's reference and the picture. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { configSchema, secretKeys } from "../config/schema";

const docs = join(__dirname, "../docs");

interface Field {
  safeParse(value: unknown): { success: boolean; data?: unknown; error?: { issues: { message: string }[] } };
  meta?(): { description?: string } | undefined;
}

/** The values that a key allows, in the words of its rule. */
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

All keys of a stack, in the namespace \`wcs-balancer\`. \`npm run docs\` makes this page from \`config/schema.ts\`, and a test
checks that it is current. Set a key with \`pulumi config set KEY VALUE\`. For a part of a list or object add \`--path\`, for
a secret \`--secret\`:

\`\`\`sh aws
pulumi config set maxConnections 8000
pulumi config set --path 'checks.cpu' 80
pulumi config set --path 'nodes[2]' wcs-3
pulumi config set --secret tlsPrivateKey < key.pem
\`\`\`

A value that is not allowed, an unknown key or a secret in clear text stops \`pulumi up\` before anything changes. One line
for each names the key, the value, the allowed values and the command that fixes it.

| key | default | meaning | allowed |
|---|---|---|---|
${rows.join("\n")}

One of \`wcsPackage\` and \`wcsPackageUrl\` is required unless \`nodeAmi\` is set. \`vpcId\` and \`subnetIds\` go together, and
so do \`tlsCertificate\` and \`tlsPrivateKey\`. \`acme\` excludes these two and \`tlsChain\`, and needs \`clientCidrs\` that let everybody
in. \`sshPublicKey\` requires \`adminCidrs\`.

## Effect of a change

| changed | effect |
|---|---|
| \`nodes\`, \`externalNodes\`, \`nodeStack\` | HAProxy adds and drains servers at run time, without a reload |
| \`checks\`, \`drainTimeoutSeconds\`, certificate | applied at run time, without a reload |
| \`acme\` | its directory, profile and contact are applied at run time. Setting or removing it is a reload that closes no socket; no machine is replaced |
| \`algorithm\`, \`stickiness\`, \`maxConnections\`, \`maxConnectionsPerNode\`, \`maxConnectionsPerAddress\`, \`trustedCidrs\`, \`frameAncestors\` | a reload that closes no socket |
| \`nodeInstanceType\`, \`nodeAmi\`, \`wcsPackage\` or \`wcsPackageUrl\`, \`wcsProperties\`, \`wcsHeap\`, \`wcsLicenseKey\`, \`javaPackage\`, \`agentListener\`, \`balancerCidrs\` | new nodes first, then the old ones are drained |
| \`balancerInstanceType\`, \`balancerAmi\`, \`domain\`, \`webSdkUrl\` and its companions | new balancers at the same addresses; with a load balancer the old ones are drained |
| \`balancers\`, \`entry\` | balancers and the load balancer are made or removed; no existing machine is replaced, and removed balancers are drained |
| \`sshPublicKey\` | new nodes and new balancers |
| this project's \`machines/\` | files of nodes: new nodes; files of balancers: new balancers. The pull request's comment says which |
| \`permissionsBoundary\` | the machines' roles change in place |
| \`clientCidrs\`, \`adminCidrs\`, \`openPorts\`, \`directAccess\` | only security group rules change |
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
