import { randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import { region } from "../account";
import type { Cloud, Instance } from "./cloud";

function metadataOf(instance: Instance, cloud: Cloud): Record<string, string | undefined> {
  const credentials = cloud.issueCredentials(instance);
  const base = "/latest/meta-data";
  return {
    [`${base}/instance-id`]: instance.id,
    [`${base}/ami-id`]: instance.inputs.ami,
    [`${base}/instance-type`]: instance.inputs.instanceType,
    [`${base}/local-ipv4`]: instance.privateAddress,
    [`${base}/public-ipv4`]: cloud.publicAddressOf(instance),
    [`${base}/placement/region`]: region,
    [`${base}/placement/availability-zone`]: cloud.zoneOf(instance),
    [`${base}/services/domain`]: "amazonaws.com",
    [`${base}/iam/security-credentials/`]: credentials?.role,
    [`${base}/iam/security-credentials`]: credentials?.role,
    ...(credentials && {
      [`${base}/iam/security-credentials/${credentials.role}`]: JSON.stringify({
        Code: "Success",
        LastUpdated: new Date().toISOString(),
        Type: "AWS-HMAC",
        AccessKeyId: credentials.accessKeyId,
        SecretAccessKey: credentials.secretAccessKey,
        Token: credentials.token,
        Expiration: credentials.expiration.toISOString(),
      }),
    }),
  };
}

/**
 * The instance metadata service, only version 2: every request needs a session token from a PUT request. The source
 * address identifies the machine; the firewall does not let a machine use another address.
 */
export function metadataServer(cloud: Cloud): Server {
  const sessions = new Map<string, { instance: string; expires: number }>();
  return createServer((request, response) => {
    if (cloud.faults.metadata === "away") return request.socket.destroy();
    const answer = (status: number, body = "") =>
      response.writeHead(status, { "Content-Type": "text/plain" }).end(body);
    const instance = cloud.instanceAt(request.socket.remoteAddress ?? "");
    if (!instance) return answer(404);

    if (request.method === "PUT" && request.url === "/latest/api/token") {
      const seconds = Number(request.headers["x-aws-ec2-metadata-token-ttl-seconds"]);
      if (request.headers["x-forwarded-for"]) return answer(403);
      if (!(seconds >= 1 && seconds <= 21_600)) return answer(400);
      const token = randomBytes(40).toString("base64");
      sessions.set(token, { instance: instance.id, expires: Date.now() + seconds * 1000 });
      return answer(200, token);
    }
    if (request.method !== "GET") return answer(405);
    const session = sessions.get(String(request.headers["x-aws-ec2-metadata-token"]));
    if (!session || session.instance !== instance.id || session.expires < Date.now()) return answer(401);
    const value = metadataOf(instance, cloud)[request.url ?? ""];
    if (cloud.faults.metadata === "no credentials" && value?.startsWith("{"))
      return answer(200, JSON.stringify({ Code: "Failed", LastUpdated: new Date().toISOString() }));
    return value === undefined ? answer(404) : answer(200, value);
  });
}
