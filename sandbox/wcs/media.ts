import { MediaStreamTrack, RTCPeerConnection, type RtpPacket, useOPUS, useVP8 } from "werift";

/** Where this machine's media goes in and out. */
export interface MediaSettings {
  /** The address that clients send to; the machine itself does not have it. */
  publicAddress: string;
  privateAddress: string;
  /** First and last UDP port. */
  ports: [number, number];
}

type Kind = MediaStreamTrack["kind"];

/** On a busy machine even the first packets take seconds. */
const connectSeconds = 15;

/** Bytes of media since the start. */
export const traffic = { received: 0, sent: 0 };

/** The media of one stream to or from one browser: a WebRTC connection on a UDP port of its own. */
abstract class MediaConnection {
  protected readonly peer: RTCPeerConnection;

  constructor(private readonly settings: MediaSettings) {
    this.peer = new RTCPeerConnection({
      iceServers: [],
      iceUseIpv6: false,
      iceUseTcp: false,
      iceInterfaceAddresses: { udp4: settings.privateAddress },
      icePortRange: settings.ports,
      // One of each for all, as nothing is transcoded.
      codecs: { audio: [useOPUS()], video: [useVP8()] },
    });
  }

  /** Answers a browser's offer, which has no candidates; the answer has ours, at the public address. */
  async answer(offer: string): Promise<string> {
    await this.peer.setRemoteDescription({ type: "offer", sdp: offer });
    await this.prepare();
    await this.peer.setLocalDescription(await this.peer.createAnswer());
    const sdp = this.peer.localDescription?.sdp ?? "";
    if (!sdp.includes("a=candidate")) throw new Error("no media port is free");
    return sdp.replaceAll(` ${this.settings.privateAddress} `, ` ${this.settings.publicAddress} `);
  }

  /**
   * Waits until media can flow.
   * @throws Error with what WCS says to a browser whose packets do not arrive
   */
  connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const failed = () => reject(new Error("Failed by ICE timeout"));
      const deadline = setTimeout(failed, connectSeconds * 1000);
      this.peer.connectionStateChange.subscribe((state) => {
        if (state === "connected") resolve();
        else if (state === "failed" || state === "closed") failed();
        else return;
        clearTimeout(deadline);
      });
    });
  }

  close(): Promise<void> {
    return this.peer.close();
  }

  /** The steps between offer and answer. */
  protected async prepare(): Promise<void> {}
}

/** A stream that a browser publishes, and the players that get it. */
export class Publication extends MediaConnection {
  readonly players = new Set<Playback>();
  private video?: MediaStreamTrack;

  constructor(settings: MediaSettings) {
    super(settings);
    this.peer.onTrack.subscribe((track) => {
      if (track.kind === "video") this.video = track;
      track.onReceiveRtp.subscribe((packet) => {
        traffic.received += packet.payload.length;
        for (const player of this.players) player.send(track.kind, packet);
      });
    });
  }

  /** A player decodes nothing before the first whole picture. */
  requestKeyframe(): void {
    const receiver = this.peer.getTransceivers().find(({ kind }) => kind === "video")?.receiver;
    if (receiver && this.video?.ssrc) void receiver.sendRtcpPLI(this.video.ssrc);
  }
}

/** A stream that a browser plays. */
export class Playback extends MediaConnection {
  private readonly tracks = new Map<Kind, MediaStreamTrack>();

  constructor(
    settings: MediaSettings,
    readonly source: Publication,
  ) {
    super(settings);
  }

  send(kind: Kind, packet: RtpPacket): void {
    traffic.sent += packet.payload.length;
    this.tracks.get(kind)?.writeRtp(packet.clone());
  }

  override async connected(): Promise<void> {
    await super.connected();
    this.source.players.add(this);
    this.source.requestKeyframe();
  }

  override close(): Promise<void> {
    this.source.players.delete(this);
    return super.close();
  }

  protected override async prepare(): Promise<void> {
    for (const transceiver of this.peer.getTransceivers()) {
      const track = new MediaStreamTrack({ kind: transceiver.kind });
      transceiver.direction = "sendonly";
      await transceiver.sender.replaceTrack(track);
      transceiver.sender.onPictureLossIndication.subscribe(() => this.source.requestKeyframe());
      this.tracks.set(transceiver.kind, track);
    }
  }
}
