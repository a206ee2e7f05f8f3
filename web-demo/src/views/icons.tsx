/** The line icons of the page; decoration only, the words are beside them or in aria-label. */
const PATHS = {
  phone: 'M6.5 3.5h3l1.5 4-2 1.5a11 11 0 0 0 6 6l1.5-2 4 1.5v3a2 2 0 0 1-2.2 2A16.5 16.5 0 0 1 4.5 5.7a2 2 0 0 1 2-2.2z',
  hangUp: 'M3 15.5v-2c0-1.2.7-2.2 2-2.7a20 20 0 0 1 14 0c1.3.5 2 1.5 2 2.7v2a1 1 0 0 1-1.2 1l-3-.6a1 1 0 0 1-.8-1v-2a16 16 0 0 0-8 0v2a1 1 0 0 1-.8 1l-3 .6a1 1 0 0 1-1.2-1z',
  video: 'M3.5 7.5a1.5 1.5 0 0 1 1.5-1.5h8.5a1.5 1.5 0 0 1 1.5 1.5v9a1.5 1.5 0 0 1-1.5 1.5H5a1.5 1.5 0 0 1-1.5-1.5zM15 10.5l5.5-3v9l-5.5-3z',
  microphone: 'M12 3.5a2.8 2.8 0 0 1 2.8 2.8v5a2.8 2.8 0 0 1-5.6 0v-5A2.8 2.8 0 0 1 12 3.5zM5.8 11a6.2 6.2 0 0 0 12.4 0M12 17.2v3.3',
  microphoneOff: 'M14.8 9V6.3a2.8 2.8 0 0 0-5.3-1.3M9.2 9.5v1.8a2.8 2.8 0 0 0 4.3 2.3M5.8 11a6.2 6.2 0 0 0 9.7 5.1M18.2 11a6 6 0 0 1-.5 2.5M12 17.2v3.3M4 4l16 16',
  pause: 'M9 5.5v13M15 5.5v13',
  play: 'M8 5.5l10.5 6.5L8 18.5z',
  settings: 'M4 7.5h9M18 7.5h2M4 16.5h2M11 16.5h9M15.5 5v5M8.5 14v5',
  signOut: 'M14 4.5H6.5a1.5 1.5 0 0 0-1.5 1.5v12a1.5 1.5 0 0 0 1.5 1.5H14M10.5 12H20M16.5 8.5L20 12l-3.5 3.5',
  incoming: 'M17.5 6.5L7 17M7 9.5V17h7.5',
  outgoing: 'M6.5 17.5L17 7M9.5 7H17v7.5',
  missed: 'M4 7.5l7 7 8-8M13.5 6.5H19V12',
  backspace: 'M8.5 6H19a1.5 1.5 0 0 1 1.5 1.5v9A1.5 1.5 0 0 1 19 18H8.5L3.5 12zM11.5 9.5l5 5M16.5 9.5l-5 5',
  close: 'M6 6l12 12M18 6L6 18',
  retry: 'M19.5 12a7.5 7.5 0 1 1-2.3-5.4M19.5 4v4h-4',
  expand: 'M9 4H4v5M15 4h5v5M9 20H4v-5M15 20h5v-5',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
