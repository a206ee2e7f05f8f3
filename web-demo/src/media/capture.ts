/** Opening the microphone and the camera. */
import type { Settings } from '../memory/settings';

/** Opens the chosen microphone, and the camera when `video`. Rejects with the browser's DOMException. */
export async function capture(settings: Settings, video: boolean): Promise<MediaStream> {
  return devices().getUserMedia({ audio: audioConstraints(settings), video: video ? videoConstraints(settings) : false });
}

/** Opens the chosen camera alone. */
export async function captureCamera(settings: Settings): Promise<MediaStream> {
  return devices().getUserMedia({ video: videoConstraints(settings) });
}

export function stopTracks(stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

/** `navigator.mediaDevices` is missing outside of secure contexts: an error with a name of its own says so. */
export function devices(): MediaDevices {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  throw Object.assign(new Error('no secure context'), { name: 'InsecureContextError' });
}

// `ideal`, not `exact`: a headset that was unplugged must not prevent a call.
function audioConstraints({ microphone }: Settings): MediaTrackConstraints {
  return { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...(microphone && { deviceId: { ideal: microphone } }) };
}

function videoConstraints({ camera }: Settings): MediaTrackConstraints {
  return { width: { ideal: 1280 }, height: { ideal: 720 }, ...(camera && { deviceId: { ideal: camera } }) };
}
