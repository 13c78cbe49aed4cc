/** The cloud of one sandbox: a process that lives from `up` to `down`, in the VPC's network namespace. */
import { createReadStream, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { basename, join } from "node:path";
import * as addresses from "../addresses";
import { newKeys, pemOf, readKeys, signServer, x509 } from "../certificates";
import { cached, sandboxPaths } from "../paths";
import { region } from "../provider/aws";
import { run } from "../shell";
import type { CloudMethods } from "./client";
import { Cloud } from "./cloud";
import { dnsServer } from "./dns";
import { NspawnMachines } from "./machine";
import { metadataServer } from "./metadata";
import { ObjectStore } from "./objects";
import { answerS3, bucketOf, s3Host } from "./s3";
import { answerSsm } from "./ssm";

const ssmHost = `ssm.${region}.amazonaws.com`;
const certificateHours = 24 * 90;

type Handlers = {
  [Method in keyof CloudMethods]: (
    args: CloudMethods[Method]["args"],
  ) => Promise<CloudMethods[Method]["result"]> | CloudMethods[Method]["result"];
};

function serveDownload(request: IncomingMessage, response: ServerResponse): void {
  const path = join(cached.downloads, basename(request.url ?? ""));
  if (!existsSync(path)) response.writeHead(404).end();
  else createReadStream(path).pipe(response.writeHead(200, { "Content-Type": "application/gzip" }));
}

function hostOf(request: IncomingMessage): string {
  return (request.headers.host ?? "").split(":")[0] ?? "";
}

/** S3 without TLS, which is for a bucket's policy to refuse. */
function plainServer(cloud: Cloud): Server {
  return createServer((request, response) => {
    const bucket = bucketOf(hostOf(request));
    if (bucket) void answerS3(request, response, bucket, cloud, false);
    else response.writeHead(421).end();
  });
}

async function publicServer(cloud: Cloud) {
  const { keys, pem } = await newKeys();
  const certificate = await signServer({
    publicKey: keys.publicKey,
    commonName: ssmHost,
    dnsNames: [ssmHost, `*.${s3Host}`, addresses.downloadsHost],
    hours: certificateHours,
    authority: new x509.X509Certificate(readFileSync(cached.authorityCertificate, "utf8")),
    authorityKeys: await readKeys(readFileSync(cached.authorityKey, "utf8")),
  });
  return createTlsServer({ cert: pemOf(certificate), key: pem }, (request, response) => {
    const host = hostOf(request);
    const bucket = bucketOf(host);
    if (bucket) void answerS3(request, response, bucket, cloud, true);
    else if (host === ssmHost && cloud.faults.ssm === "away") request.socket.destroy();
    else if (host === ssmHost) void answerSsm(request, response, cloud);
    else if (host === addresses.downloadsHost) serveDownload(request, response);
    else response.writeHead(421).end();
  });
}

async function main(name: string): Promise<void> {
  const paths = sandboxPaths(name);
  const saved = existsSync(paths.savedCloud) ? JSON.parse(readFileSync(paths.savedCloud, "utf8")) : undefined;
  const cloud = new Cloud(
    new NspawnMachines(paths),
    new ObjectStore(paths.objects),
    (script) => void run("nft", ["--file", "-"], { input: script }),
    saved,
  );
  const handlers: Handlers = {
    ping: () => ({ pid: process.pid }),
    create: ({ kind, inputs, caller }) => cloud.create(kind, inputs, caller),
    update: ({ kind, id, inputs, caller }) => cloud.update(kind, id, inputs, caller),
    remove: async ({ kind, id, caller }) => {
      await cloud.remove(kind, id, caller);
      return undefined;
    },
    read: ({ kind, id, caller }) => cloud.read(kind, id, caller),
    putManagedPolicy: ({ arn, document }) => {
      cloud.putManagedPolicy(arn, document);
      return undefined;
    },
    stopInstance: async ({ id }) => {
      await cloud.stopInstance(id);
      return undefined;
    },
    startInstance: ({ id }) => {
      cloud.startInstance(id);
      return undefined;
    },
    hibernate: async () => {
      writeFileSync(paths.savedCloud, JSON.stringify(await cloud.hibernate()), { mode: 0o600 });
      return undefined;
    },
    machines: () => cloud.status(),
    setFaults: (faults) => {
      cloud.faults = faults;
      return undefined;
    },
  };

  (await publicServer(cloud)).listen(443, addresses.publicServices);
  plainServer(cloud).listen(80, addresses.publicServices);
  metadataServer(cloud).listen(80, addresses.metadataService);
  const names: Record<string, string> = {
    [ssmHost]: addresses.publicServices,
    [addresses.downloadsHost]: addresses.publicServices,
  };
  dnsServer(
    (host) => (bucketOf(host) ? addresses.publicServices : names[host]) ?? cloud.addressOf(host),
  ).bind(53, addresses.dnsService);

  cloud.resume();

  rmSync(paths.socket, { force: true });
  createServer(async (request, response) => {
    try {
      let body = "";
      for await (const part of request.setEncoding("utf8")) body += part;
      const method = (request.url ?? "").slice(1) as keyof CloudMethods;
      const handler = handlers[method] as ((args: unknown) => unknown) | undefined;
      if (!handler) throw new Error(`the cloud has no method ${method}`);
      response.end(JSON.stringify({ result: await handler(JSON.parse(body)) }));
    } catch (error) {
      response.end(JSON.stringify({ error: (error as Error).message }));
    }
  }).listen(paths.socket);
}

main(process.argv[2] ?? "").catch((error: Error) => {
  console.error(error);
  process.exit(1);
});
