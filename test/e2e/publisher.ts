import { RTCPeerConnection, useVP8 } from "werift";
import type { Client } from "./cluster";

/** A stream published without a browser: it counts at its node, and has no picture. */
export async function publish({ socket }: Client, name: string): Promise<void> {
  const peer = new RTCPeerConnection({ iceServers: [], iceUseIpv6: false, codecs: { video: [useVP8()] } });
  socket.on("close", () => void peer.close());
  peer.addTransceiver("video", { direction: "sendonly" });
  await peer.setLocalDescription(await peer.createOffer());

  const published = new Promise<void>((resolve, reject) => {
    const receive = (part: Buffer) => {
      const { message, data } = JSON.parse(String(part));
      if (message === "setRemoteSDP" && data[0] === name) {
        void peer.setRemoteDescription({ type: "answer", sdp: data[1] });
      }
      if (message !== "notifyStreamStatusEvent" || data[0].mediaSessionId !== name) return;
      socket.off("message", receive);
      if (data[0].status === "PUBLISHING") resolve();
      else reject(new Error(`${name} is ${data[0].status}: ${data[0].info}`));
    };
    socket.on("message", receive);
  });
  const stream = { mediaSessionId: name, name, published: true, sdp: peer.localDescription?.sdp };
  socket.send(JSON.stringify({ message: "publishStream", data: [stream] }));
  await published;
}
