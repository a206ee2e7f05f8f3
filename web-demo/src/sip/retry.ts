/** Seconds until the next attempt after `failures` in a row: 2, 4, 8, 16, then 30. */
export function retryDelay(failures: number): number {
  return Math.min(2 ** Math.max(1, failures), 30);
}
