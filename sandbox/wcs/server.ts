/**
 * A stand-in for Web Call Server: the WebSDK's protocol for publishing and playing streams with real media, and the
 * statistics in the real one's JSON.
 */
import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { dirname, join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";
import { type MediaSettings, Playback, Publication, traffic } from "./media";

const home = process.argv[2] ?? "/usr/local/FlashphonerWebCallServer";

/** A browser's request, as far as it is used here. */
interface StreamRequest {
  mediaSessionId: string;
  name: string;
  sdp: string;
}

interface Stream {
  mediaSessionId: string;
  name: string;
  session: Session;
  media: Publication | Playback;
  /** Whether media flows. */
  live: boolean;
}

interface Session {
  id: string;
  socket: WebSocket;
  streams: Map<string, Stream>;
  unansweredPings: number;
}

function readProperties(path: string): Record<string, string> {
  const lines = readFileSync(path, "utf8").split("\n");
  return Object.fromEntries(
    lines
      .map((line) => line.match(/^\s*([^#!\s=][^=\s]*)\s*=\s*(.*?)\s*$/))
      .filter((match) => match !== null)
      .map((match) => [match[1], match[2]]),
  );
}

const properties = readProperties(join(home, "conf/flashphoner.properties"));
const property = (name: string, fallback: string) => properties[name] ?? fallback;
const pingMilliseconds = Number(property("keep_alive.server_interval", "5000"));
const maxUnansweredPings = Number(property("keep_alive.probes", "10"));
const mediaSettings: MediaSettings = {
  publicAddress: property("ip", "127.0.0.1"),
  privateAddress: property("ip_local", "127.0.0.1"),
  ports: [Number(property("media_port_from", "31001")), Number(property("media_port_to", "32000"))],
};
const logFile = join(home, "logs/server_logs/flashphoner.log");
const sessions = new Set<Session>();

function log(message: string): void {
  appendFileSync(logFile, `${new Date().toISOString()} INFO ${message}\n`);
}

/** The client's address and port: those that the balancer states, if the properties allow it. */
function clientOf(request: IncomingMessage): string {
  const header = property("ws.ip_forward_header", "").toLowerCase();
  const forwarded =
    property("ws.map_custom_headers", "false") === "true" && header ? request.headers[header] : "";
  return String(
    forwarded || `${request.socket.remoteAddress?.replace("::ffff:", "")}:${request.socket.remotePort}`,
  );
}

function send(session: Session, message: string, ...data: unknown[]): void {
  if (session.socket.readyState === WebSocket.OPEN) session.socket.send(JSON.stringify({ message, data }));
}

function tell(session: Session, mediaSessionId: string, status: string, info?: string): void {
  send(session, "notifyStreamStatusEvent", { mediaSessionId, status, info });
}

function allStreams(): Stream[] {
  return [...sessions].flatMap((session) => [...session.streams.values()]);
}

function publicationOf(name: string): Publication | undefined {
  for (const stream of allStreams()) {
    if (stream.name === name && stream.media instanceof Publication) return stream.media;
  }
  return undefined;
}

async function publish(session: Session, request: StreamRequest): Promise<void> {
  if (publicationOf(request.name)) {
    tell(session, request.mediaSessionId, "FAILED", "Stream name is already in use");
    return;
  }
  await start(session, request, new Publication(mediaSettings), "PUBLISHING");
}

async function play(session: Session, request: StreamRequest): Promise<void> {
  const source = publicationOf(request.name);
  if (!source) {
    tell(session, request.mediaSessionId, "FAILED", "Session does not exist");
    return;
  }
  await start(session, request, new Playback(mediaSettings, source), "PLAYING");
}

async function start(
  session: Session,
  { mediaSessionId, name, sdp }: StreamRequest,
  media: Publication | Playback,
  status: string,
): Promise<void> {
  const stream: Stream = { mediaSessionId, name, session, media, live: false };
  session.streams.set(mediaSessionId, stream);
  try {
    send(session, "setRemoteSDP", mediaSessionId, await media.answer(sdp), false);
    await media.connected();
    stream.live = true;
    log(`${status} ${name} ${session.id}`);
    tell(session, mediaSessionId, status);
  } catch (error) {
    end(stream, "FAILED", (error as Error).message);
  }
}

/** Ends a stream, and with a published one those that play it. */
function end(stream: Stream, status: string, info?: string): void {
  const { session, mediaSessionId, name, media } = stream;
  if (!session.streams.delete(mediaSessionId)) return;
  log(`${status} ${name} ${session.id}${info ? `: ${info}` : ""}`);
  media.close().catch((error: Error) => log(`media of ${name} did not close: ${error.message}`));
  tell(session, mediaSessionId, status, info);
  if (!(media instanceof Publication)) return;
  for (const other of allStreams()) {
    if (other.media instanceof Playback && other.media.source === media)
      end(other, "FAILED", "Stopped by publisher stop");
  }
}

function receive(session: Session, text: string): void {
  const { message, data } = JSON.parse(text) as { message: string; data: StreamRequest[] };
  const [request] = data;
  const stream = session.streams.get(request?.mediaSessionId ?? "");
  switch (message) {
    case "connection":
      log(`session ESTABLISHED ${session.id}`);
      send(session, "getUserData", { authToken: randomUUID() });
      break;
    case "publishStream":
      if (request) void publish(session, request);
      break;
    case "playStream":
      if (request) void play(session, request);
      break;
    case "unPublishStream":
      if (stream) end(stream, "UNPUBLISHED");
      break;
    case "stopStream":
      if (stream) end(stream, "STOPPED");
      break;
    case "availableStream":
      if (request) {
        const status = String(publicationOf(request.name) !== undefined);
        send(session, "availableStream", { id: request.mediaSessionId, status, info: "" });
      }
      break;
    case "pong":
      session.unansweredPings = 0;
      break;
    default:
      log(`ignored ${message} ${session.id}`);
  }
}

function accept(socket: WebSocket, request: IncomingMessage): void {
  const local = `${request.socket.localAddress?.replace("::ffff:", "")}:${request.socket.localPort}`;
  const session: Session = {
    id: `/${clientOf(request)}/${local}-${randomUUID()}`,
    socket,
    streams: new Map(),
    unansweredPings: 0,
  };
  sessions.add(session);
  log(`session CONNECTED ${session.id}`);
  const pings = setInterval(() => {
    if (session.unansweredPings++ >= maxUnansweredPings) socket.close();
    else send(session, "ping", null);
  }, pingMilliseconds);
  socket.on("message", (part) => {
    try {
      receive(session, String(part));
    } catch (error) {
      log(`unreadable message ${session.id}: ${(error as Error).message}`);
    }
  });
  socket.on("error", (error) => log(`socket error ${session.id}: ${error.message}`));
  socket.on("close", () => {
    clearInterval(pings);
    for (const stream of session.streams.values()) end(stream, "FAILED", "Session is closed");
    sessions.delete(session);
    log(`session DISCONNECTED ${session.id}`);
  });
}

/** Megabits in and out during the last second. */
const bandwidth = { in: 0, out: 0 };
let before = { ...traffic };
setInterval(() => {
  const megabits = (bytes: number) => (bytes * 8) / 1e6;
  bandwidth.in = megabits(traffic.received - before.received);
  bandwidth.out = megabits(traffic.sent - before.sent);
  before = { ...traffic };
}, 1000);

function statistics() {
  const streams = allStreams();
  const live = streams.filter((stream) => stream.live);
  const published = live.filter(({ media }) => media instanceof Publication).length;
  const [firstPort, lastPort] = mediaSettings.ports;
  return {
    connections_stats: {
      connections: sessions.size,
      connections_websocket: sessions.size,
      connections_rtmfp: 0,
    },
    streams_stats: {
      streams_webrtc_in: published,
      streams_rtmp_in: 0,
      streams_rtsp_in: 0,
      streams_rtsp_push_in: 0,
      streams_webrtc_out: live.length - published,
      streams_rtmp_out: 0,
      streams_rtmp_client_out: 0,
      streams_rtsp_out: 0,
      streams_websocket_out: 0,
      streams_hls: 0,
      streams_viewers: "",
    },
    network_stats: { global_bandwidth_in: bandwidth.in, global_bandwidth_out: bandwidth.out },
    // Every second port, as the real one does.
    port_stats: {
      ports_media_free: Math.floor((lastPort - firstPort) / 2) - streams.length,
      ports_media_busy: streams.length,
      ports_media_quarantine: 0,
    },
    system_stats: { system_java_cpu_usage: 0.0 },
  };
}

/** The statistics as a page to read: the same numbers, and the sessions and streams by name. */
function statisticsPage(): string {
  const groups: [string, Record<string, unknown>][] = Object.entries(statistics());
  const sections = groups.map(([group, values]) => [
    `-----${group}-----`,
    ...Object.entries(values).map(([name, value]) => `${name}=${value}`),
  ]);
  const streams = allStreams()
    .filter(({ live }) => live)
    .map(
      ({ name, media, session }) =>
        `${media instanceof Publication ? "published" : "played"}=${name} session=${session.id}`,
    );
  return `${[...sections.flat(), "-----sessions-----", ...[...sessions].map(({ id }) => id), "-----streams-----", ...streams].join("\n")}\n`;
}

function answerStatistics(request: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
  if (searchParams.get("action") !== "stat") {
    if (pathname === "/") response.writeHead(302, { Location: "/?action=stat" }).end();
    else response.writeHead(404).end();
    return;
  }
  if (searchParams.get("format") !== "json") {
    response.writeHead(200, { "Content-Type": "text/plain" }).end(statisticsPage());
    return;
  }
  const groups = searchParams.get("groups")?.split(",");
  const asked = Object.entries(statistics()).filter(([group]) => !groups || groups.includes(group));
  response
    .writeHead(200, { "Content-Type": "application/json" })
    .end(JSON.stringify(Object.fromEntries(asked)));
}

mkdirSync(dirname(logFile), { recursive: true });
new WebSocketServer({ port: Number(property("ws.port", "8080")) }).on("connection", accept);
const direct = createTlsServer({
  key: readFileSync(join(home, "conf/wss.key")),
  cert: readFileSync(join(home, "conf/wss.crt")),
}).listen(Number(property("wss.port", "8443")));
new WebSocketServer({ server: direct }).on("connection", accept);
createServer(answerStatistics).listen(Number(property("http.port", "8081")));
log(`started ip=${property("ip", "")} ip_local=${property("ip_local", "")}`);
