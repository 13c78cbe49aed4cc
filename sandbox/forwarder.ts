/** A process of `open` in the network namespace of the other side: takes connections, and connects them onwards there. */
import { connect, type Socket } from "node:net";

const [host = "", port = ""] = process.argv.slice(2);

process.on("message", (_, socket: Socket) => {
  const onward = connect(Number(port), host);
  onward.on("error", () => socket.destroy());
  socket.on("error", () => onward.destroy());
  socket.pipe(onward).pipe(socket);
});
process.on("disconnect", () => process.exit(0));
