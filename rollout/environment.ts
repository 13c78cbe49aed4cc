/** The environment and the end of the programs that `pulumi up` runs. */

import type { StatusAccess } from "./status-client";

/** @throws Error when the variable is not set */
export function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set`);
  return value;
}

/** Splits names that are separated by blanks. */
export function names(list: string): string[] {
  return list.split(" ").filter(Boolean);
}

/** The state that balancers have to serve. */
export interface WantedState {
  revision: string;
  servers: string[];
  /** Servers that this stack does not make. */
  furtherServers: string[];
}

/** Reads REVISION, SERVERS and FURTHER_SERVERS. */
export function wantedState(): WantedState {
  return {
    revision: required("REVISION"),
    servers: names(required("SERVERS")),
    furtherServers: names(process.env.FURTHER_SERVERS ?? ""),
  };
}

/** How to ask the balancer at an address. Reads TRUSTED and STATUS_TOKEN. */
export function accessTo(address: string): StatusAccess {
  return { address, trusted: required("TRUSTED"), token: required("STATUS_TOKEN") };
}

/** The last sentence of an error whose cause is in the machine's console. */
export function seeConsole(instance: string): string {
  const command = `aws ec2 get-console-output --latest --output text --instance-id ${instance}`;
  return `. See the machine's console with: ${command}`;
}

/** What is missing while no balancer has answered through the load balancer; `reason` is the connection's. */
export function throughLoadBalancer(reason: string): string {
  return `a healthy target of the load balancer: no balancer has answered through it yet (${reason})`;
}

/**
 * The last sentences of an error when nothing has answered at any address.
 * @param balancers the instances by the names
 */
export function nothingAnswered(balancers: Record<string, string>, hasLoadBalancer: boolean): string {
  const [[name, instance] = ["", ""], ...others] = Object.entries(balancers);
  if (!hasLoadBalancer)
    return `. If somebody has moved the Elastic IP, run pulumi refresh, then pulumi up${seeConsole(instance)}`;
  const rest = others.map(([other, its]) => `; ${other} is ${its}`).join("");
  return (
    ". Most probably no balancer is a healthy target of the load balancer yet, and a balancer's console says why it does " +
    `not serve${seeConsole(instance)}${rest && ` (${name}${rest})`}`
  );
}

/** A function that prints warnings, each text only once. */
export function onceEach(): (warnings: string[]) => void {
  const printed = new Set<string>();
  return (warnings) => {
    for (const warning of warnings.filter((text) => !printed.has(text))) console.log(`warning: ${warning}`);
    for (const warning of warnings) printed.add(warning);
  };
}

/** Runs a program; its error becomes one line and the exit status 1. */
export function runProgram(name: string, main: () => Promise<void>): void {
  main().catch((error: Error) => {
    console.error(`${name} failed: ${error.message}`);
    process.exitCode = 1;
  });
}
