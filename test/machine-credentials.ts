/** Credentials as the sandbox's metadata service gives them to a machine with a role, valid for an hour. */
export function machineCredentials(role: string) {
  return {
    role,
    accessKeyId: "ASIA0123456789ABCDEF",
    secretAccessKey: "secret",
    token: "token",
    expiration: new Date(Date.now() + 3_600_000),
  };
}
