import * as pulumi from "@pulumi/pulumi";
import { expect, test } from "vitest";
import { LookUpError } from "../../components/look-up-error";

test("a failed look-up has one message, however many resources wait for its value", () => {
  const error = new LookUpError("the image was not found");
  for (const property of ["ami", "ami", "subnetId"])
    error.message = `error serializing property "${property}": ${error.message}`;
  expect(error.message).toBe("the image was not found");
  expect(error).toBeInstanceOf(pulumi.RunError);
  expect(pulumi.RunError.isInstance(error)).toBe(true);
});
