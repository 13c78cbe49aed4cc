import type { NodeStatus, RemovedServer, Status } from "../contract/status";

/** A node that is up. */
export const exampleNode: NodeStatus = {
  server: "wcs-1-00000001",
  node: "wcs-1",
  address: "10.0.1.1:8080",
  state: "up",
  takenOut: null,
  reason: "",
  setup: null,
  load: "",
  weight: 100,
  sockets: 0,
  limit: 100,
};

/** A node that was removed and drains. */
export const exampleRemoved: RemovedServer = {
  server: "wcs-2-00000002",
  node: "wcs-2",
  state: "draining",
  reason: "",
  sockets: 12,
  secondsLeft: 540,
  held: false,
  lastResort: false,
};

/** A balancer of which nothing is wrong. */
export const exampleStatus: Status = {
  instance: "i-new",
  revision: "r2",
  applied: true,
  error: null,
  refused: null,
  setup: null,
  away: [],
  handedOver: null,
  named: true,
  leaving: [],
  target: null,
  nodes: [exampleNode],
  draining: [],
  certificate: { source: "document", notAfter: "2027-01-01T00:00:00Z", daysLeft: 90 },
  acme: null,
  warnings: [],
};
