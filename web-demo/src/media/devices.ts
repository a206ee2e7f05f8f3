/** Which microphones, speakers and cameras there are. */

/** Lists the devices now and after every change. Labels stay empty until the person allowed the microphone once. */
export function watchDevices(listener: (devices: MediaDeviceInfo[]) => void): void {
  const { mediaDevices } = navigator;
  if (!mediaDevices) return;
  const list = () => void mediaDevices.enumerateDevices().then(listener, () => listener([]));
  mediaDevices.addEventListener('devicechange', list);
  list();
}

/** Lists them once more, after a permission was given. */
export async function listDevices(): Promise<MediaDeviceInfo[]> {
  return (await navigator.mediaDevices?.enumerateDevices()) ?? [];
}

/** Whether this browser lets a page choose the speaker. */
export const canChooseSpeaker = typeof HTMLMediaElement !== 'undefined' && 'setSinkId' in HTMLMediaElement.prototype;

/** Plays `element` on the chosen speaker; one that is gone falls back to the system's. */
export async function useSpeaker(element: HTMLMediaElement, speaker: string): Promise<void> {
  if (!canChooseSpeaker || element.sinkId === speaker) return;
  try {
    await element.setSinkId(speaker);
  } catch (error) {
    console.warn('the chosen speaker is not available', error);
    await element.setSinkId('');
  }
}
