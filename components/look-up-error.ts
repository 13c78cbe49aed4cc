import * as pulumi from "@pulumi/pulumi";

/**
 * Ends the program because a look-up has failed. Its message stays as it is: the SDK puts `error serializing property`
 * before it for each resource that waits for the value (serializeFilteredProperties in runtime/rpc.js).
 */
export class LookUpError extends pulumi.RunError {
  constructor(message: string) {
    super(message);
    Object.defineProperty(this, "message", { get: () => message, set: () => {} });
  }
}
