/** The tracks of a peer connection: what the far end sends, and what is sent from here. */

/** The streams to show, from the tracks that come in: sound as soon as there is any, a picture while its direction says so. */
export function remoteStreams(
  connection: RTCPeerConnection,
  shown: { remoteAudio: MediaStream | null; remoteVideo: MediaStream | null },
): { remoteAudio: MediaStream | null; remoteVideo: MediaStream | null } {
  const tracks = (kind: string) =>
    connection
      .getTransceivers()
      .filter(({ receiver, currentDirection }) => {
        if (receiver.track.kind !== kind || receiver.track.readyState === 'ended') return false;
        return kind === 'audio' || currentDirection === 'sendrecv' || currentDirection === 'recvonly';
      })
      .map(({ receiver }) => receiver.track);
  return {
    remoteAudio: sameOrNew(shown.remoteAudio, tracks('audio')),
    remoteVideo: sameOrNew(shown.remoteVideo, tracks('video')),
  };
}

/** The stream that is shown already when it has exactly these tracks: a new one would make the element start over. */
function sameOrNew(shown: MediaStream | null, tracks: MediaStreamTrack[]): MediaStream | null {
  if (tracks.length === 0) return null;
  const same = shown?.getTracks().length === tracks.length && tracks.every((track) => shown.getTrackById(track.id) === track);
  return same ? shown : new MediaStream(tracks);
}

/** The picture in `stream` as a stream of its own; null without one. */
export function videoOf(stream: MediaStream | null): MediaStream | null {
  const tracks = stream?.getVideoTracks() ?? [];
  return tracks.length > 0 ? new MediaStream(tracks) : null;
}

/** The sender that a track of this kind is on. */
export function senderOf(connection: RTCPeerConnection | null | undefined, kind: 'audio' | 'video'): RTCRtpSender | undefined {
  return connection?.getSenders().find(({ track }) => track?.kind === kind);
}

/** Sends `track` instead of the one that `sender` sends, in the same state of mute, and keeps `local` in step. */
export async function replaceTrack(sender: RTCRtpSender, local: MediaStream, track: MediaStreamTrack): Promise<void> {
  const before = sender.track;
  if (before) {
    track.enabled = before.enabled;
    before.stop();
    local.removeTrack(before);
  }
  local.addTrack(track);
  await sender.replaceTrack(track);
}

/** Sends no picture any more. A section that was never agreed on goes altogether: later offers must not repeat it. */
export function removePicture(connection: RTCPeerConnection, local: MediaStream | null): void {
  for (const transceiver of connection.getTransceivers()) {
    const { track } = transceiver.sender;
    if (track?.kind !== 'video') continue;
    track.stop();
    local?.removeTrack(track);
    if (transceiver.mid === null) transceiver.stop();
    else if (connection.signalingState !== 'closed') connection.removeTrack(transceiver.sender);
  }
}
