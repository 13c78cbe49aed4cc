/** The process of a load balancer in one zone, in a network namespace of its own: the cloud's child, and told by it. */
import { Zone, type ZoneConfig } from "./zone";

/** From the cloud: a configuration with its number. */
export interface ConfigureMessage {
  number: number;
  config: ZoneConfig;
}

const send = (message: object) => process.send?.(message);
const zone = new Zone((report) => send({ report }));

process.on("message", ({ number, config }: ConfigureMessage) => {
  zone.configure(config).then(
    () => send({ configured: number }),
    (error: Error) => send({ configured: number, error: error.message }),
  );
});
// Without its cloud the load balancer is not needed any more.
process.on("disconnect", () => process.exit());
