/**
 * A stand-in for Web Call Server: the WebSDK's protocol as far as sessions and the names of published and
 * played streams, and the statistics in the real one's JSON. Media is not carried yet.
 */
import { randomUUID } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { dirname, join } from "node:path";
import { WebSocket, WebSocketServer } from "ws";

const home = process.argv[2] ?? "/usr/local/FlashphonerWebCallServer";

interface Stream {
  mediaSessionId: string;
  name: string;
  published: boolean;
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
const logFile = join(home, "logs/server_logs/flashphoner.log");
const sessions = new Set<Session>();

function log(message: string): void {
  appendFileSync(logFile, `${new Date().toISOString()} INFO ${message}\n`);
}

/** The client's address and port: what the balancer says, where the properties allow it. */
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

function allStreams(): Stream[] {
  return [...sessions].flatMap((session) => [...session.streams.values()]);
}

function isPublished(name: string): boolean {
  return allStreams().some((stream) => stream.published && stream.name === name);
}

function startStream(session: Session, { mediaSessionId, name }: Stream, published: boolean): void {
  const failure = published
    ? isPublished(name) && "Stream name is already in use"
    : !isPublished(name) && "Session does not exist";
  if (failure) {
    send(session, "notifyStreamStatusEvent", { mediaSessionId, status: "FAILED", info: failure });
    return;
  }
  session.streams.set(mediaSessionId, { mediaSessionId, name, published });
  log(`${published ? "publish" : "play"} ${name} ${session.id}`);
  send(session, "notifyStreamStatusEvent", { mediaSessionId, status: published ? "PUBLISHING" : "PLAYING" });
}

function stopStream(session: Session, { mediaSessionId }: Stream): void {
  const stream = session.streams.get(mediaSessionId);
  if (!stream) return;
  session.streams.delete(mediaSessionId);
  const status = stream.published ? "UNPUBLISHED" : "STOPPED";
  send(session, "notifyStreamStatusEvent", { mediaSessionId, status });
}

function receive(session: Session, text: string): void {
  const { message, data } = JSON.parse(text) as { message: string; data: Stream[] };
  const [value] = data;
  switch (message) {
    case "connection":
      log(`session ESTABLISHED ${session.id}`);
      send(session, "getUserData", { authToken: randomUUID() });
      break;
    case "publishStream":
      if (value) startStream(session, value, true);
      break;
    case "playStream":
      if (value) startStream(session, value, false);
      break;
    case "unPublishStream":
    case "stopStream":
      if (value) stopStream(session, value);
      break;
    case "availableStream":
      if (value) {
        const status = String(isPublished(value.name));
        send(session, "availableStream", { id: value.mediaSessionId, status, info: "" });
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
    sessions.delete(session);
    log(`session DISCONNECTED ${session.id}`);
  });
}

function statistics() {
  const streams = allStreams();
  const published = streams.filter((stream) => stream.published).length;
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
      streams_webrtc_out: streams.length - published,
      streams_rtmp_out: 0,
      streams_rtmp_client_out: 0,
      streams_rtsp_out: 0,
      streams_websocket_out: 0,
      streams_hls: 0,
      streams_viewers: "",
    },
    network_stats: { global_bandwidth_in: 0.0, global_bandwidth_out: 0.0 },
    port_stats: { ports_media_free: 499, ports_media_busy: 0, ports_media_quarantine: 0 },
    system_stats: { system_java_cpu_usage: 0.0 },
  };
}

function answerStatistics(request: IncomingMessage, response: ServerResponse): void {
  const { searchParams } = new URL(request.url ?? "/", "http://localhost");
  if (searchParams.get("action") !== "stat") {
    response.writeHead(404).end();
    return;
  }
  const groups = searchParams.get("groups")?.split(",");
  const all = Object.entries(statistics()).filter(([group]) => !groups || groups.includes(group));
  if (searchParams.get("format") === "json") {
    response
      .writeHead(200, { "Content-Type": "application/json" })
      .end(JSON.stringify(Object.fromEntries(all)));
    return;
  }
  const lines = all.flatMap(([group, values]) => [
    `-----${group}-----`,
    ...Object.entries(values).map(([name, value]) => `${name}=${value}`),
  ]);
  const names = allStreams().map(({ name, published }) => `${published ? "published" : "played"}=${name}`);
  response
    .writeHead(200, { "Content-Type": "text/plain" })
    .end(`${[...lines, "-----streams-----", ...names].join("\n")}\n`);
}

mkdirSync(dirname(logFile), { recursive: true });
new WebSocketServer({ port: Number(property("ws.port", "8080")) }).on("connection", accept);
createServer(answerStatistics).listen(Number(property("http.port", "8081")));
log(`started ip=${property("ip", "")} ip_local=${property("ip_local", "")}`);
