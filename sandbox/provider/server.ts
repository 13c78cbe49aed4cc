import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import * as grpc from "@grpc/grpc-js";
import { Empty } from "google-protobuf/google/protobuf/empty_pb";
import { type JavaScriptValue, Struct } from "google-protobuf/google/protobuf/struct_pb";
import { ZodError, type z } from "zod";
import { authorize } from "../rights/caller";
import { assetHash } from "./asset";
import { type Context, type Invoke, type ResourceType, unknownValue } from "./resource-type";
import type { Values } from "./values";

// Pulumi ships these stubs, but has no types for them.
const providerService = require("@pulumi/pulumi/proto/provider_grpc_pb");
const messages = require("@pulumi/pulumi/proto/provider_pb");
const plugin = require("@pulumi/pulumi/proto/plugin_pb");

// biome-ignore lint/suspicious/noExplicitAny: the generated requests have no types that can be imported.
type Request = any;

function typeOf(urn: string): string {
  return urn.split("::")[2]?.split("$").at(-1) ?? "";
}

function nameOf(urn: string): string {
  return urn.split("::").at(-1) ?? "";
}

function valuesOf(struct: Struct | undefined): Values {
  return (struct?.toJavaScript() ?? {}) as Values;
}

function structOf(values: Values): Struct {
  return Struct.fromJavaScript(JSON.parse(JSON.stringify(values)) as Record<string, JavaScriptValue>);
}

function isUnknown(value: unknown): boolean {
  if (value === unknownValue) return true;
  return typeof value === "object" && value !== null && Object.values(value).some(isUnknown);
}

/** The problems of inputs, without values that are not known yet. */
function problems(schema: z.ZodType, inputs: Values): { path: string; reason: string }[] {
  const result = schema.safeParse(inputs);
  if (result.success) return [];
  return result.error.issues
    .filter((issue) => {
      // biome-ignore lint/suspicious/noExplicitAny: walks an unvalidated value of any shape.
      const value = issue.path.reduce((at: any, key) => at?.[key], inputs);
      return issue.code === "unrecognized_keys" || issue.path.length === 0 || !isUnknown(value);
    })
    .map((issue) =>
      issue.code === "unrecognized_keys"
        ? {
            path: issue.keys[0] ?? "",
            reason: `the sandbox does not know the property ${issue.keys.join(", ")}`,
          }
        : { path: issue.path.map(String).join("."), reason: issue.message },
    );
}

/**
 * Whether two values of a property are the same. Assets with the same content are the same, whatever their paths are:
 * the real bridge names the file for a resource after the asset's hash.
 */
function isSame(old: unknown, value: unknown): boolean {
  const hash = assetHash(old);
  return hash !== undefined ? hash === assetHash(value) : isDeepStrictEqual(old, value);
}

/** Keys whose values differ. */
function changedKeys(olds: Values, news: Values): string[] {
  return [...new Set([...Object.keys(olds), ...Object.keys(news)])].filter(
    (key) => !isSame(olds[key], news[key]),
  );
}

/** Adds the state's assets to the values that were read: AWS does not know the file of an object (s3/object.go). */
function withAssetsOf(olds: Values, news: Values): Values {
  return Object.fromEntries(
    Object.entries(news).map(([key, value]) => [key, assetHash(olds[key]) ? olds[key] : value]),
  );
}

function replacedBy(type: ResourceType, olds: Values, news: Values): string[] {
  const keys = typeof type.replaceOn === "function" ? type.replaceOn(olds, news) : type.replaceOn;
  return changedKeys(olds, news).filter((key) => keys.includes(key) || !type.update);
}

export interface ProviderDefinition {
  /** The version of the SDK's package. */
  version: string;
  types: Record<string, ResourceType>;
  invokes?: Record<string, Invoke>;
}

/**
 * A Pulumi provider over gRPC for the given types and functions. Everything else is an error, so that the sandbox never
 * pretends to do more than it can.
 */
export async function serveProvider(
  { version, types, invokes = {} }: ProviderDefinition,
  surroundings: Omit<Context, "cancelled">,
): Promise<{ port: number; stop(): void }> {
  const cancellation = new AbortController();
  const context: Context = { ...surroundings, cancelled: cancellation.signal };

  function lookUp(urn: string): ResourceType {
    const type = types[typeOf(urn)];
    if (!type) throw new Error(`the sandbox does not know the resource type ${typeOf(urn)}`);
    return type;
  }

  const handlers: Record<string, (request: Request) => Promise<unknown> | unknown> = {
    handshake: () => new messages.ProviderHandshakeResponse(),
    attach: () => new Empty(),
    cancel() {
      cancellation.abort();
      return new Empty();
    },
    getPluginInfo: () => new plugin.PluginInfo().setVersion(version),
    getSchema: () => new messages.GetSchemaResponse().setSchema("{}"),
    checkConfig: (request) => new messages.CheckResponse().setInputs(request.getNews()),
    diffConfig: () => new messages.DiffResponse().setChanges(messages.DiffResponse.DiffChanges.DIFF_NONE),
    configure: () => new messages.ConfigureResponse().setSupportspreview(true).setAcceptsecrets(false),

    check(request) {
      const urn: string = request.getUrn();
      const type = lookUp(urn);
      const inputs = valuesOf(request.getNews());
      if (type.autoName && inputs[type.autoName] === undefined) {
        inputs[type.autoName] =
          valuesOf(request.getOlds())[type.autoName] ??
          `${nameOf(urn)}-${randomBytes(4).toString("hex").slice(0, 7)}`;
      }
      const failures = problems(type.inputs, inputs).map(({ path, reason }) =>
        new messages.CheckFailure().setProperty(path).setReason(reason),
      );
      return new messages.CheckResponse().setInputs(structOf(inputs)).setFailuresList(failures);
    },

    diff(request) {
      const olds = valuesOf(request.getOldInputs());
      const news = valuesOf(request.getNews());
      const type = lookUp(request.getUrn());
      const renewal = type.renewal?.(valuesOf(request.getOlds()));
      const due = renewal === undefined ? [] : [renewal];
      // The engine has put the old inputs in their place, but not at a refresh. The real bridge knows names only, no `*`.
      const ignored: string[] = request.getIgnorechangesList();
      const diffs = [...changedKeys(olds, news).filter((key) => !ignored.includes(key)), ...due];
      const { DIFF_NONE, DIFF_SOME } = messages.DiffResponse.DiffChanges;
      return new messages.DiffResponse()
        .setChanges(diffs.length > 0 ? DIFF_SOME : DIFF_NONE)
        .setDiffsList(diffs)
        .setReplacesList([...replacedBy(type, olds, news).filter((key) => !ignored.includes(key)), ...due]);
    },

    async create(request) {
      const urn: string = request.getUrn();
      const type = lookUp(urn);
      const inputs = valuesOf(request.getProperties());
      if (request.getPreview()) {
        const unknown = Object.fromEntries(type.computed.map((key) => [key, unknownValue]));
        return new messages.CreateResponse().setId("").setProperties(structOf({ ...unknown, ...inputs }));
      }
      const { id, outputs } = await type.create(inputs, context, urn);
      return new messages.CreateResponse().setId(id).setProperties(structOf({ ...inputs, ...outputs }));
    },

    async update(request) {
      const urn: string = request.getUrn();
      const type = lookUp(urn);
      const inputs = valuesOf(request.getNews());
      const olds = valuesOf(request.getOlds());
      const kept = Object.fromEntries(
        type.computed.filter((key) => key in olds).map((key) => [key, olds[key]]),
      );
      const outputs =
        request.getPreview() || !type.update
          ? {}
          : await type.update(request.getId(), inputs, olds, context, urn);
      return new messages.UpdateResponse().setProperties(structOf({ ...kept, ...inputs, ...outputs }));
    },

    async read(request) {
      const type = lookUp(request.getUrn());
      const id: string = request.getId();
      const [inputs, outputs] = [valuesOf(request.getInputs()), valuesOf(request.getProperties())];
      if (!type.read) {
        // During `pulumi import` there is no state yet.
        if (Object.keys(outputs).length === 0)
          throw new Error(`the sandbox cannot import ${typeOf(request.getUrn())}`);
        return new messages.ReadResponse()
          .setId(id)
          .setInputs(request.getInputs())
          .setProperties(request.getProperties());
      }
      const now = await type.read(id, context);
      // An empty id means that the resource does not exist any more.
      if (!now) return new messages.ReadResponse().setId("");
      return new messages.ReadResponse()
        .setId(id)
        .setInputs(structOf(withAssetsOf(inputs, now.inputs)))
        .setProperties(structOf(withAssetsOf(outputs, { ...now.inputs, ...now.outputs })));
    },

    async delete(request) {
      const type = lookUp(request.getUrn());
      await type.remove?.(request.getId(), valuesOf(request.getProperties()), context);
      return new Empty();
    },

    async invoke(request) {
      const token: string = request.getTok();
      const invoke = invokes[token];
      if (!invoke) throw new Error(`the sandbox does not know the function ${token}`);
      if (context.caller) authorize(context.caller, invoke.calls);
      const answer = await invoke.answer(valuesOf(request.getArgs()), context);
      return new messages.InvokeResponse().setReturn(structOf(answer));
    },
  };

  const server = new grpc.Server();
  const implementation = Object.fromEntries(
    Object.keys(providerService.ResourceProviderService).map((method) => [
      method,
      async (call: { request: Request }, callback: grpc.sendUnaryData<unknown>) => {
        try {
          const handler = handlers[method];
          if (!handler)
            throw Object.assign(new Error(`${method} is not implemented`), {
              code: grpc.status.UNIMPLEMENTED,
            });
          callback(null, await handler(call.request));
        } catch (error) {
          const { message, code } = error as Error & { code?: unknown };
          const details =
            error instanceof ZodError ? error.issues.map((issue) => issue.message).join("; ") : message;
          callback({ code: typeof code === "number" ? code : grpc.status.UNKNOWN, details });
        }
      },
    ]),
  );
  server.addService(
    providerService.ResourceProviderService,
    implementation as grpc.UntypedServiceImplementation,
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, stop: () => server.forceShutdown() };
}
