/** The cloud of one sandbox: a process that lives from `up` to `down`, in the VPC's network namespace. */
import { createReadStream, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { basename, join } from "node:path";
import { region } from "../account";
import * as addresses from "../addresses";
import { newKeys, pemOf, readKeys, signServer, x509 } from "../certificates";
import { cached, sandboxPaths } from "../paths";
import { run } from "../shell";
import { CertificateAuthority, directoryHosts } from "./certificate-authority";
import type { CloudMethods } from "./client";
import { Cloud } from "./cloud";
import { endConnections } from "./connections";
import { delaysVariable, parseDelays } from "./delays";
import { dnsServer, dnsServerOverTcp } from "./dns";
import { ec2Api } from "./ec2-api";
import { elasticLoadBalancingApi } from "./elastic-load-balancing-api";
import { NspawnMachines } from "./machine";
import { metadataServer } from "./metadata";
import { ObjectStore } from "./objects";
import { answerQuery, type QueryService } from "./query-api";
import { answerS3, bucketOf, s3Host } from "./s3";
import { answerSsm } from "./ssm";
import { ZoneProcesses } from "./zone-processes";

/** AWS's APIs that speak the query protocol, by their hosts. */
const queryServices: Record<string, QueryService> = Object.fromEntries(
  [ec2Api, elasticLoadBalancingApi].map((service) => [`${service.name}.${region}.amazonaws.com`, service]),
);
const ssmHost = `ssm.${region}.amazonaws.com`;
/** Every name of a service that the sandbox plays, but for buckets. */
const publicHosts = [ssmHost, ...Object.keys(queryServices), addresses.downloadsHost, ...directoryHosts];
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

/** S3 without TLS. A bucket's policy has to refuse it. */
function plainServer(cloud: Cloud): Server {
  return createServer((request, response) => {
    const bucket = bucketOf(hostOf(request));
    if (bucket) void answerS3(request, response, bucket, cloud, false);
    else response.writeHead(421).end();
  });
}

async function publicServer(cloud: Cloud, authority: CertificateAuthority) {
  const { keys, pem } = await newKeys();
  const certificate = await signServer({
    publicKey: keys.publicKey,
    commonName: ssmHost,
    dnsNames: [...publicHosts, `*.${s3Host}`],
    hours: certificateHours,
    authority: new x509.X509Certificate(readFileSync(cached.authorityCertificate, "utf8")),
    authorityKeys: await readKeys(readFileSync(cached.authorityKey, "utf8")),
  });
  return createTlsServer({ cert: pemOf(certificate), key: pem }, (request, response) => {
    const host = hostOf(request);
    const bucket = bucketOf(host);
    const service = queryServices[host];
    if (bucket) void answerS3(request, response, bucket, cloud, true);
    else if (service) void answerQuery(request, response, service, cloud);
    else if (host === ssmHost && cloud.faults.ssm === "away") request.socket.destroy();
    else if (host === ssmHost) void answerSsm(request, response, cloud);
    else if (host === addresses.downloadsHost) serveDownload(request, response);
    else if (directoryHosts.includes(host)) void authority.answer(request, response, cloud.faults.directory);
    else response.writeHead(421).end();
  });
}

async function main(name: string, layers: string[]): Promise<void> {
  const paths = sandboxPaths(name);
  const saved = existsSync(paths.savedCloud) ? JSON.parse(readFileSync(paths.savedCloud, "utf8")) : undefined;
  const cloud = new Cloud(
    new NspawnMachines(paths, layers),
    new ObjectStore(paths.objects),
    (script, moved) => {
      run("nft", ["--file", "-"], { input: script });
      // Only after the new rules: otherwise a packet in between could open the old path again.
      for (const address of moved) endConnections(address);
    },
    saved,
    new ZoneProcesses(paths),
    parseDelays(process.env[delaysVariable]),
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
    loadBalancers: () => cloud.loadBalancers(),
    putRecords: ({ name, addresses }) => {
      cloud.putRecords(name, addresses);
      return undefined;
    },
    removeRecords: ({ name }) => {
      cloud.removeRecords(name);
      return undefined;
    },
    records: () => cloud.records(),
    setFaults: (faults) => {
      cloud.faults = faults;
      return undefined;
    },
  };

  (await publicServer(cloud, new CertificateAuthority(paths))).listen(443, addresses.publicServices);
  plainServer(cloud).listen(80, addresses.publicServices);
  metadataServer(cloud).listen(80, addresses.metadataService);
  const addressesOf = (host: string) => {
    const known = cloud.addressesOf(host);
    if (known.length > 0) return known;
    return bucketOf(host) || publicHosts.includes(host) ? [addresses.publicServices] : [];
  };
  // The VPC's resolver, and the one of the internet.
  dnsServer(addressesOf).bind(53, addresses.dnsService);
  dnsServerOverTcp(addressesOf).listen(53, addresses.internetGateway);

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

const [sandbox = "", ...layers] = process.argv.slice(2);
main(sandbox, layers).catch((error: Error) => {
  console.error(error);
  process.exit(1);
});
