// Bundles the page into dist/: index.html, one script, one style sheet, the icon and the licences of what is bundled.
// Names carry a content hash, so everything but index.html may be cached for ever. Nothing is inlined: the page
// works under `default-src 'self'`.
import { context, build } from 'esbuild';
import { cp, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, 'dist');
const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));

const options = {
  absWorkingDir: root,
  entryPoints: { app: 'src/main.tsx', style: 'src/styles/main.css' },
  outdir: dist,
  entryNames: '[name]-[hash]',
  bundle: true,
  minify: true,
  sourcemap: process.argv.includes('--watch') ? 'linked' : false,
  format: 'esm',
  target: ['chrome111', 'firefox115', 'safari16.4'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  define: { __VERSION__: JSON.stringify(manifest.version), 'process.env.NODE_ENV': '"production"' },
  metafile: true,
  legalComments: 'none',
  plugins: [{ name: 'page', setup: (setup) => setup.onEnd(writePage) }],
};

/** Writes what is not bundled: the page with the hashed names in it, the static files, the licences. */
async function writePage({ metafile, errors }) {
  if (errors.length > 0) return;
  const outputs = Object.keys(metafile.outputs).map((path) => basename(path));
  const script = outputs.find((name) => name.startsWith('app-') && name.endsWith('.js'));
  const style = outputs.find((name) => name.startsWith('style-') && name.endsWith('.css'));
  const template = await readFile(join(root, 'static', 'index.html'), 'utf8');
  await cp(join(root, 'static'), dist, { recursive: true });
  await writeFile(join(dist, 'index.html'), template.replace('{{script}}', script).replace('{{style}}', style));
  await writeFile(join(dist, 'licenses.txt'), await licenses(Object.keys(metafile.inputs)));
}

/** The licence texts of every package of which a file went into the bundle. */
async function licenses(inputs) {
  const packages = new Set(inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]).filter(Boolean));
  const parts = [];
  for (const name of [...packages].sort()) {
    const folder = join(root, 'node_modules', name);
    const { version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const file = (await readdir(folder)).find((entry) => /^licen[sc]e/i.test(entry));
    const text = file ? await readFile(join(folder, file), 'utf8') : `Licence: ${license}`;
    parts.push(`${name} ${version}\n${'-'.repeat(72)}\n${text.trim()}\n`);
  }
  return parts.join('\n\n');
}

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
if (process.argv.includes('--watch')) {
  await (await context(options)).watch();
} else {
  const { metafile } = await build(options);
  for (const [path, { bytes }] of Object.entries(metafile.outputs)) console.log(`${path} ${(bytes / 1024).toFixed(0)} kB`);
}
