/**
 * New clients of one sandbox, one each 100 ms, while a balancer is replaced or dies: in a process of their own, since
 * they show how long there is no balancer, without the work of many clients that come at once.
 *
 * Arguments: a file with the CA to trust, the address to connect to, and the number of their own address. Prints `open`
 * after the first one's session. When its standard input ends, it prints a JSON list of the moments at which those came
 * that got a session.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext } from "node:tls";
import { clientAddress, openSession } from "../test/e2e/client";
import { newcomerMilliseconds, patienceSeconds } from "./gap-settings";

async function main([authorityFile = "", address = "", ownAddress = ""]: string[]): Promise<void> {
  const secureContext = createSecureContext({ ca: readFileSync(authorityFile, "utf8") });
  const localAddress = clientAddress(Number(ownAddress));
  const options = { trust: { secureContext }, localAddress, address, patienceSeconds };
  const served: number[] = [];
  const come = async () => {
    const began = Date.now();
    const { socket } = await openSession(options);
    served.push(began);
    socket.terminate();
  };
  await come();
  console.log("open");
  let isOver = false;
  process.stdin.on("end", () => {
    isOver = true;
  });
  process.stdin.resume();
  while (!isOver) {
    // One that is refused leaves a hole in the list.
    void come().catch(() => {});
    await sleep(newcomerMilliseconds);
  }
  process.stdout.write(`${JSON.stringify(served.sort((one, other) => one - other))}\n`, () => process.exit());
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
