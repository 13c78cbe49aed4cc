import type { z } from "zod";
import type { Caller } from "../cloud/caller";
import type { CloudClient } from "../cloud/client";
import type { ApiCall, ResourceCalls } from "./calls";
import type { Values } from "./values";

/** What stands for a value that is not known until the resource that it comes from exists. */
export const unknownValue = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

export interface Context {
  cloud: CloudClient;
  /** As whom the cloud is asked. @default as somebody who may do everything */
  caller?: Caller;
  /** Shown by the engine under the resource while it is worked on. */
  log(urn: string, message: string): void;
  /** When the engine cancels, as at Ctrl-C. */
  cancelled: AbortSignal;
}

/** One resource type that the stand-in knows. Whatever is not named here is refused. */
export interface ResourceType {
  /** What its resources are called in the sandbox's cloud, and the calls that AWS would get for them. */
  inCloud?: { kind: string; calls: ResourceCalls };
  /** Every property that the program may set: strict, with the rules that the real provider has. */
  inputs: z.ZodType;
  /** The logical name gives this property a value when the program sets none, as in the real provider. */
  autoName?: "name";
  /** Properties whose change makes a new resource. */
  replaceOn: readonly string[] | ((olds: Values, news: Values) => readonly string[]);
  /** The output whose change is planned because the resource's time has come, if it has. */
  renewal?(outputs: Values): string | undefined;
  /** Outputs that only the created resource knows. */
  computed: readonly string[];
  create(inputs: Values, context: Context, urn: string): Promise<{ id: string; outputs: Values }>;
  /** Changes a resource in place and gives its outputs. @default the type cannot be updated */
  update?(id: string, inputs: Values, outputs: Values, context: Context, urn: string): Promise<Values>;
  remove?(id: string, outputs: Values, context: Context): Promise<void>;
  /**
   * What a resource is like now: its inputs, and the outputs that are no inputs; nothing when it is gone.
   * @default what the state has, for types whose resources are nowhere else
   */
  read?(id: string, context: Context): Promise<{ inputs: Values; outputs: Values } | undefined>;
}

/** A function that the program may call. */
export interface Invoke {
  /** The calls that AWS would get. */
  calls: ApiCall[];
  answer(inputs: Values): Values;
}

/** A type whose resources live in the sandbox's cloud under their type's name. */
export function inCloud(
  kind: string,
  calls: ResourceCalls,
  definition: Pick<ResourceType, "inputs" | "replaceOn" | "computed" | "autoName"> & { updatable: boolean },
): ResourceType {
  const { updatable, ...rest } = definition;
  return {
    ...rest,
    inCloud: { kind, calls },
    create: (inputs, { cloud, caller }) => cloud.call("create", { kind, inputs, caller }),
    update: updatable
      ? (id: string, inputs: Values, _outputs: Values, { cloud, caller }: Context) =>
          cloud.call("update", { kind, id, inputs, caller })
      : undefined,
    remove: (id, _outputs, { cloud, caller }) => cloud.call("remove", { kind, id, caller }),
    read: (id, { cloud, caller }) => cloud.call("read", { kind, id, caller }),
  };
}
