import * as grpc from "@grpc/grpc-js";
import { Struct } from "google-protobuf/google/protobuf/struct_pb";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CloudClient } from "../../sandbox/cloud/client";
import { awsInvokes, awsTypes } from "../../sandbox/provider/aws";
import { unknownValue } from "../../sandbox/provider/resource-type";
import { serveProvider } from "../../sandbox/provider/server";

const { ResourceProviderClient } = require("@pulumi/pulumi/proto/provider_grpc_pb");
const messages = require("@pulumi/pulumi/proto/provider_pb");

const noCloud = { internetNamespace: "", call: () => Promise.reject(new Error("no cloud here")) };
let stop: () => void;
// biome-ignore lint/suspicious/noExplicitAny: the generated client has no types that can be imported.
let client: any;

beforeAll(async () => {
  const provider = await serveProvider(
    { version: "1.0.0", types: awsTypes, invokes: awsInvokes },
    { cloud: noCloud as unknown as CloudClient, log: () => {} },
  );
  stop = provider.stop;
  client = new ResourceProviderClient(`127.0.0.1:${provider.port}`, grpc.credentials.createInsecure());
});

afterAll(() => {
  client.close();
  stop();
});

// biome-ignore lint/suspicious/noExplicitAny: as above.
function call(method: string, request: unknown): Promise<any> {
  return new Promise((resolve, reject) => {
    client[method](request, (error: Error | null, response: unknown) =>
      error ? reject(error) : resolve(response),
    );
  });
}

const urn = (type: string) => `urn:pulumi:dev::wcs-balancer::${type}::thing`;

async function failuresOf(type: string, inputs: Record<string, string>): Promise<string[]> {
  const request = new messages.CheckRequest().setUrn(urn(type)).setNews(Struct.fromJavaScript(inputs));
  const response = await call("check", request);
  return response.getFailuresList().map((failure: { getReason(): string }) => failure.getReason());
}

const eip = "aws:ec2/eip:Eip";
const rule = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";

test("a resource type that it does not know fails", async () => {
  await expect(failuresOf("aws:s3/bucket:Bucket", {})).rejects.toThrow(
    "the sandbox does not know the resource type aws:s3/bucket:Bucket",
  );
});

test("a property that it does not know fails the check, and so the preview", async () => {
  expect(await failuresOf(eip, { domain: "vpc", colour: "red" })).toEqual([
    "the sandbox does not know the property colour",
  ]);
});

test("a function that it does not know fails", async () => {
  const request = new messages.InvokeRequest().setTok("aws:ec2/getVpcs:getVpcs").setArgs(new Struct());
  await expect(call("invoke", request)).rejects.toThrow("the sandbox does not know the function");
});

test("values that are not known yet pass, and do not hide what is wrong beside them", async () => {
  const inputs = { securityGroupId: unknownValue, ipProtocol: "tcp", cidrIpv4: "nowhere" };
  expect(await failuresOf(rule, { ...inputs, cidrIpv4: unknownValue, ipProtocol: "-1" })).toEqual([]);
  expect(await failuresOf(rule, inputs)).toContain("is not a valid CIDR block");
});

test("a preview creates nothing, and shows what only the resource will know as unknown", async () => {
  const request = new messages.CreateRequest()
    .setUrn(urn(eip))
    .setProperties(Struct.fromJavaScript({ domain: "vpc" }))
    .setPreview(true);
  const response = await call("create", request);
  expect(response.getProperties().toJavaScript()).toMatchObject({ domain: "vpc", publicIp: unknownValue });
});

test("a change of what cannot change in place is a replacement", async () => {
  const diff = async (type: string, olds: Record<string, unknown>, news: Record<string, unknown>) => {
    const struct = (values: Record<string, unknown>) =>
      Struct.fromJavaScript(values as Record<string, string>);
    const request = new messages.DiffRequest()
      .setUrn(urn(type))
      .setOldInputs(struct(olds))
      .setNews(struct(news));
    return (await call("diff", request)).getReplacesList();
  };
  const instance = "aws:ec2/instance:Instance";
  const userData = (text: string, replace: boolean) => ({
    userDataBase64: text,
    userDataReplaceOnChange: replace,
  });
  expect(await diff(instance, userData("YQ==", true), userData("Yg==", true))).toEqual(["userDataBase64"]);
  expect(await diff(instance, userData("YQ==", false), userData("Yg==", false))).toEqual([]);
  expect(await diff(instance, { ami: "ami-1" }, { ami: "ami-2" })).toEqual(["ami"]);
});
