import type { z } from "zod";
import type { Caller } from "../rights/caller";
import type { ApiCall, ResourceCalls } from "../rights/calls";
import type { Values } from "./values";

/** The placeholder for a value that is not known until its resource exists. */
export const unknownValue = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** The methods of a cloud that resources live in, with the types of their arguments and results. */
export interface ResourceMethods {
  create: {
    args: { kind: string; inputs: Values; caller?: Caller };
    result: { id: string; outputs: Values };
  };
  update: { args: { kind: string; id: string; inputs: Values; caller?: Caller }; result: Values };
  remove: { args: { kind: string; id: string; caller?: Caller }; result: undefined };
  /** The resource as it is now; undefined when it does not exist. */
  read: {
    args: { kind: string; id: string; caller?: Caller };
    result: { inputs: Values; outputs: Values } | undefined;
  };
}

/** What the provider needs of the sandbox's cloud. */
interface Cloud {
  /** Where local programs run. */
  readonly internetNamespace: string;
  call<Method extends keyof ResourceMethods>(
    method: Method,
    args: ResourceMethods[Method]["args"],
  ): Promise<ResourceMethods[Method]["result"]>;
}

export interface Context {
  cloud: Cloud;
  /** The caller of the cloud. @default a caller that may do everything */
  caller?: Caller;
  /** The engine shows the message under the resource that is being changed. */
  log(urn: string, message: string): void;
  /** Aborted when the engine cancels, for example at Ctrl-C. */
  cancelled: AbortSignal;
}

/** One resource type that the sandbox knows. Everything that is not named here is refused. */
export interface ResourceType {
  /** The name of the type in the sandbox's cloud, and the calls that AWS would get for its resources. */
  inCloud?: { kind: string; calls: ResourceCalls };
  /** Every property that the program may set, with the rules of the real provider. Other properties are refused. */
  inputs: z.ZodType;
  /** As in the real provider, this property gets a value from the logical name when the program sets none. */
  autoName?: "name";
  /** Properties whose change makes a new resource. */
  replaceOn: readonly string[] | ((olds: Values, news: Values) => readonly string[]);
  /** The output whose change is planned when the resource has to be renewed. */
  renewal?(outputs: Values): string | undefined;
  /** Outputs that only the created resource knows. */
  computed: readonly string[];
  create(inputs: Values, context: Context, urn: string): Promise<{ id: string; outputs: Values }>;
  /** Changes a resource in place and gives its outputs. @default the type cannot be updated */
  update?(id: string, inputs: Values, outputs: Values, context: Context, urn: string): Promise<Values>;
  remove?(id: string, outputs: Values, context: Context): Promise<void>;
  /**
   * The resource as it is now: its inputs, and the outputs that are not inputs; undefined when it does not exist.
   * @default the values of the state, for types whose resources exist only there
   */
  read?(id: string, context: Context): Promise<{ inputs: Values; outputs: Values } | undefined>;
}

/** A function that the program may call. */
export interface Invoke {
  /** The calls that AWS would get. */
  calls: ApiCall[];
  answer(inputs: Values, context: Context): Values | Promise<Values>;
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
