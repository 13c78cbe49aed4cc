/**
 * Clients of one sandbox, on its internet, while a balancer is replaced or dies. Half of them talk each second. The
 * others send nothing by themselves and only answer WCS, as the WebSDK does. Each connects again when its socket ends.
 *
 * Arguments: a file with the CA to trust, the address to connect to, the number of clients, and the first one of their
 * own addresses. Prints `open` when all have a session, and `back` when all have a session again. When its standard
 * input ends, it prints a JSON list of `ClientReport`.
 */
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { clientAddress, openSession } from "../test/e2e/client";
import { ReturningClient } from "../test/e2e/returning-client";
import { maxPauseMilliseconds, patienceSeconds, perAddress, talkMilliseconds } from "./gap-settings";

async function main([
  authorityFile = "",
  address = "",
  count = "",
  firstAddress = "",
]: string[]): Promise<void> {
  const secureContext = createSecureContext({ ca: readFileSync(authorityFile, "utf8") });
  let away = Number(count);
  const onBack = () => {
    away--;
    if (away === 0) console.log("back");
  };
  const members: ReturningClient[] = [];
  while (members.length < Number(count)) {
    const localAddress = clientAddress(Number(firstAddress) + members.length / perAddress);
    const silent = {
      connect: () => openSession({ trust: { secureContext }, localAddress, address, patienceSeconds }),
      // Not all at the same moment.
      pause: () => Math.random() * maxPauseMilliseconds,
      onBack,
    };
    const batch = Array.from({ length: Math.min(perAddress, Number(count) - members.length) }, (_, index) =>
      ReturningClient.open(index % 2 === 0 ? { ...silent, talkMilliseconds } : silent),
    );
    members.push(...(await Promise.all(batch)));
  }
  console.log("open");
  for await (const _ of process.stdin);
  for (const member of members) {
    member.stayAway();
    member.client.socket.terminate();
  }
  process.stdout.write(`${JSON.stringify(members.map(({ report }) => report))}\n`, () => process.exit());
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
