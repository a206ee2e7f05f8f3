/** Twelve keys. Test ids: `dtmf-pad-0` to `dtmf-pad-9`, `dtmf-pad-star`, `dtmf-pad-hash`. */
const KEYS: readonly [digit: string, letters: string][] = [
  ['1', ''],
  ['2', 'abc'],
  ['3', 'def'],
  ['4', 'ghi'],
  ['5', 'jkl'],
  ['6', 'mno'],
  ['7', 'pqrs'],
  ['8', 'tuv'],
  ['9', 'wxyz'],
  ['*', ''],
  ['0', '+'],
  ['#', ''],
];

export function Keypad({ label, onPress }: { label: string; onPress(digit: string): void }) {
  return (
    <div class="keypad" role="group" aria-label={label}>
      {KEYS.map(([digit, letters]) => (
        <button
          key={digit}
          type="button"
          data-testid={`dtmf-pad-${digit === '*' ? 'star' : digit === '#' ? 'hash' : digit}`}
          onClick={() => onPress(digit)}
        >
          <span class="key-digit">{digit}</span>
          <span class="key-letters">{letters}</span>
        </button>
      ))}
    </div>
  );
}
