import { expect, test } from "vitest";
import { acmeFile } from "../../cluster/contract";
import { config, inLab } from "./sync-lab";

test("HAProxy answers challenges by itself, and makes browsers remember TLS only for a public certificate", async () => {
  const acme = { email: "operations@example.com" };
  const kept = await inLab("acme_answers.py", [config([1], { acme })], acmeFile);
  expect(kept.trim().split("\n")).toEqual([
    "without an account's thumbprint challenges are redirected like everything else",
    "every token is answered with the thumbprint, on the ports of both ways of clients",
    "no other path and no other method is answered",
    "browsers are told to remember TLS only while the certificate is public",
    "both outlive a reload and a start of HAProxy",
  ]);
}, 600_000);
