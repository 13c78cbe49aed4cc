import { connect as connectTls } from "node:tls";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { examplePage } from "../../cluster/haproxy-config";
import { DebianRoot } from "../debian-root";
import { authority, balancerAddress, domain, eventually, get, onMachine } from "./cluster";

/** A client's machine on the internet, with tools of its own. */
let debian: DebianRoot;

beforeAll(async () => {
  debian = await DebianRoot.with("sslscan");
});

afterAll(() => debian?.remove());

describe("pages", () => {
  test("connect to the port that they came from", async () => {
    const { body } = await get("/wcs/examples/demo/dependencies/js/utils.js");
    expect(body).toMatch(
      /^window\.SERVER_PORTS = window\.SERVER_PORTS \|\| \{ wss: Number\(window\.location\.port\) \|\| 443 \};/,
    );
  });

  test("have no listing, and tell nothing of the server's version", async () => {
    const { status, headers } = await get("/wcs/examples/");
    expect(status).toBe(403);
    expect(headers.server).toBe("nginx");
  });

  test("are compressed, and browsers ask for them again each time, except for pictures", async () => {
    const script = "/wcs/flashphoner.js";
    const plain = await get(script);
    const small = await get(script, { "Accept-Encoding": "gzip" });
    expect(small.headers["content-encoding"]).toBe("gzip");
    expect(Number(plain.headers["content-length"])).toBeGreaterThan(3 * small.raw.length);
    expect(gunzipSync(small.raw).toString()).toBe(plain.body);
    expect(plain.headers["cache-control"]).toBe("no-cache");
    const again = await get(script, { "If-None-Match": String(plain.headers.etag) });
    expect(again.status).toBe(304);
    const picture = (
      await onMachine("balancer", "cd /usr/share/nginx/html && find wcs -name '*.png'")
    ).output.split("\n")[0];
    expect((await get(`/${picture}`)).headers["cache-control"]).toBe("max-age=86400");
  });

  test("begin at the example page, and there are no other pages", async () => {
    const { status, headers } = await get("/");
    expect([status, headers.location]).toEqual([302, examplePage]);
    expect((await get(examplePage)).status).toBe(200);
    for (const path of ["/index.html", "/index.nginx-debian.html", "/wcs/README.md"])
      expect((await get(path)).status).toBe(404);
  });

  test("come with security headers, without HSTS for a certificate of the stack's own CA", async () => {
    const { headers } = await get("/wcs/flashphoner-rest-api.js");
    expect(headers["x-content-type-options"]).toBe("nosniff");
    expect(headers["content-security-policy"]).toBe("frame-ancestors 'self'");
    expect(headers["strict-transport-security"]).toBeUndefined();
  });
});

test("wcs-balancer status shows the facts that an operator needs first", async () => {
  await eventually(async () => {
    const { status, output } = await onMachine("balancer", "wcs-balancer status");
    expect(output).toMatch(
      /^revision {5}[0-9a-f]{12} \(applied\)\ninstance {5}i-[0-9a-f]{17}\ncertificate {2}36\d days left\n/,
    );
    expect(
      output.match(/^wcs-([12]) \(wcs-\1-[0-9a-f]{8}\) {2}up .* sockets( {2}\w+ \d+ of \d+)?$/gm),
    ).toHaveLength(2);
    expect(status).toBe(0);
  });
});

describe("TLS", () => {
  let report = "";

  beforeAll(() => {
    report = debian.exec(
      "sslscan",
      "--no-colour",
      "--show-certificate",
      `--sni-name=${domain}`,
      balancerAddress,
    ).output;
  });
  test("sslscan finds TLS 1.2 and 1.3 and nothing older", () => {
    for (const protocol of ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"])
      expect(report).toMatch(new RegExp(`^${protocol} +disabled$`, "m"));
    for (const protocol of ["TLSv1.2", "TLSv1.3"])
      expect(report).toMatch(new RegExp(`^${protocol} +enabled$`, "m"));
  });

  test("sslscan finds only ciphers with forward secrecy and authenticated encryption", () => {
    const ciphers = [...report.matchAll(/^(?:Preferred|Accepted) +TLSv1\.\d +(\d+) bits +(\S+)/gm)];
    expect(ciphers.length).toBeGreaterThan(5);
    for (const [, bits, name = ""] of ciphers) {
      expect(Number(bits)).toBeGreaterThanOrEqual(128);
      expect(name).toMatch(/^(TLS_(AES|CHACHA20)|ECDHE-ECDSA-(AES|CHACHA20)).*(GCM|POLY1305)/);
    }
  });

  test("sslscan finds an ECDSA certificate, no compression, no renegotiation by clients, no Heartbleed", () => {
    expect(report).toMatch(/ECC Curve Name: +prime256v1/);
    expect(report).toContain("Compression disabled");
    expect(report).toMatch(/(Secure session renegotiation supported|Session renegotiation not supported)/);
    expect(report).toContain("Server supports TLS Fallback SCSV");
    expect(report.match(/not vulnerable to heartbleed/g)).toHaveLength(2);
    expect(report).not.toMatch(/(?<!not )vulnerable/);
  });

  function handshake(...args: string[]): string {
    const command = `openssl s_client -connect ${balancerAddress}:443 -servername ${domain} ${args.join(" ")}`;
    return debian.exec("sh", "-c", `${command} </dev/null`).output;
  }

  test("gives no session ticket", () => {
    const session = handshake("-tls1_2");
    expect(session).toContain("Verify return code");
    expect(session).not.toContain("TLS session ticket");
  });

  test("the chain comes in the order in which it is signed, and ends with the stack's CA", () => {
    const chain = handshake("-showcerts").matchAll(/^ *(?:\d+ s|i):(.*)$/gm);
    const [subject, issuer, ...others] = [...chain].map(([, name = ""]) => name.replaceAll(" ", ""));
    expect(subject).toBe(`CN=${domain}`);
    expect(others).toEqual([issuer, issuer]);
  });

  test("another name, or none, gets this certificate, so that the client notices", async () => {
    for (const servername of ["other.example.com", ""]) {
      const error = await new Promise<string>((resolve) => {
        const socket = connectTls({
          host: balancerAddress,
          port: 443,
          servername,
          ca: authority(),
          ALPNProtocols: ["http/1.1"],
        });
        socket.on("secureConnect", () => {
          socket.destroy();
          resolve("");
        });
        socket.on("error", (problem: NodeJS.ErrnoException) => resolve(problem.code ?? ""));
      });
      expect(error).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
    }
  });
});
