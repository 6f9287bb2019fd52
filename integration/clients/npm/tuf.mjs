// Follows a TUF repository with Sigstore's JavaScript package, for the tests in integration/clients:
//
//   node tuf.mjs MIRROR ROOT CACHE > TRUSTED_ROOT
//
// Exit status: 0 followed, 1 not.
import { writeSync } from 'node:fs';
import { initTUF } from '@sigstore/tuf';

const [mirrorURL, rootPath, cachePath] = process.argv.slice(2);
try {
  const client = await initTUF({ mirrorURL, rootPath, cachePath, forceInit: true });
  writeSync(1, await client.getTarget('trusted_root.json'));
} catch (err) {
  for (let e = err; e; e = e.cause) console.error(`${e.name} ${e.code ?? ''}: ${e.message}`);
  process.exit(1);
}
