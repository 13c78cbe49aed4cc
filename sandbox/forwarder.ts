/** Part of `open`: a process in the target's network namespace, which gets accepted connections and connects them. */
import { connect, type Socket } from "node:net";

const [host = "", port = ""] = process.argv.slice(2);

process.on("message", (_, socket: Socket) => {
  const onward = connect(Number(port), host);
  onward.on("error", () => socket.destroy());
  socket.on("error", () => onward.destroy());
  socket.pipe(onward).pipe(socket);
});
process.on("disconnect", () => process.exit(0));
