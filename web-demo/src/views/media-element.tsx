import { useEffect, useRef, useState } from 'preact/hooks';
import { useSpeaker } from '../media/devices';

/** Plays the sound of the far end on the chosen speaker. Test ids: see call-card.tsx. */
export function Sound({ stream, speaker }: { stream: MediaStream | null; speaker: string }) {
  const element = useRef<HTMLAudioElement>(null);
  const [blocked, setBlocked] = useState(false);

  useEffect(() => {
    const audio = element.current!;
    audio.srcObject = stream;
    if (!stream) return;
    // A page that nobody touched since it was loaded may not play sound: then a button asks for the touch.
    audio.play().then(
      () => setBlocked(false),
      (error: Error) => setBlocked(error.name === 'NotAllowedError'),
    );
  }, [stream]);
  useEffect(() => void useSpeaker(element.current!, speaker), [speaker]);

  return (
    <>
      <audio ref={element} autoplay data-testid="remote-audio" />
      {blocked && (
        <button type="button" class="primary wide" data-testid="allow-sound" onClick={() => void element.current!.play().then(() => setBlocked(false))}>
          Press to hear the call
        </button>
      )}
    </>
  );
}

interface PictureProps {
  stream: MediaStream;
  testid: string;
  label: string;
  mirrored?: boolean;
}

/** Shows a picture without its sound. */
export function Picture({ stream, testid, label, mirrored = false }: PictureProps) {
  const element = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const video = element.current!;
    // The attribute does not set the property in every browser, and a video with sound would not start by itself.
    video.muted = true;
    video.srcObject = stream;
  }, [stream]);
  return <video ref={element} autoplay muted playsInline class={mirrored ? 'mirrored' : undefined} aria-label={label} data-testid={testid} />;
}
