/** TCP clients in another network namespace: a child of a test, which tells it what to do and hears what happens. */
import { connect, type Socket } from "node:net";

/** Dials, says something, or closes. */
export type Order =
  | { client: number; dial: { address: string; port: number } }
  | { client: number; say: string }
  | { client: number; close: true };

/** What a client has received, or how it has ended: by a code such as ECONNRESET, or in good order. */
export type Event = { client: number; text: string } | { client: number; ended: string };

const sockets = new Map<number, Socket>();
const tell = (event: Event) => process.send?.(event);

process.on("message", (order: Order) => {
  const { client } = order;
  if ("say" in order) sockets.get(client)?.write(order.say);
  if ("close" in order) sockets.get(client)?.destroy();
  if (!("dial" in order)) return;
  const socket = connect({ host: order.dial.address, port: order.dial.port, timeout: 3000 });
  sockets.set(client, socket);
  socket.on("data", (chunk) => tell({ client, text: chunk.toString("latin1") }));
  socket.on("end", () => tell({ client, ended: "in good order" }));
  socket.on("error", ({ code = "" }: NodeJS.ErrnoException) => tell({ client, ended: code }));
  socket.on("timeout", () => {
    if (!socket.connecting) return;
    socket.destroy();
    tell({ client, ended: "no answer" });
  });
});
process.on("disconnect", () => process.exit());
