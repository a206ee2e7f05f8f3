// Bundles the tests (Node 20 reads no TypeScript) into a temporary folder and runs them with node:test.
import { build } from 'esbuild';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const outdir = await mkdtemp(join(tmpdir(), 'causeway-web-test-'));
const tests = (await readdir(here)).filter((name) => name.endsWith('.test.ts'));
try {
  await build({
    entryPoints: tests.map((name) => join(here, name)),
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  });
  const files = tests.map((name) => join(outdir, name.replace(/\.ts$/, '.mjs')));
  process.exitCode = spawnSync(process.execPath, ['--test', ...files], { stdio: 'inherit' }).status ?? 1;
} finally {
  await rm(outdir, { recursive: true, force: true });
}
