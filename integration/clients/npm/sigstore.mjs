// Drives Sigstore's JavaScript packages for the tests in integration/clients:
//
//   node sigstore.mjs sign   SIGNING_CONFIG TOKEN message|dsse FILE > BUNDLE
//   node sigstore.mjs verify TRUSTED_ROOT BUNDLE FILE IDENTITY ISSUER
//
// For dsse, FILE is an in-toto statement. Exit status: 0 signed or verified, 1 not.
import { readFileSync } from 'node:fs';
import { SigningConfig, TrustedRoot } from '@sigstore/protobuf-specs';
import { bundleFromJSON, bundleToJSON } from '@sigstore/bundle';
import { bundleBuilderFromSigningConfig } from '@sigstore/sign';
import { Verifier, toSignedEntity, toTrustMaterial } from '@sigstore/verify';

const json = (file) => JSON.parse(readFileSync(file, 'utf8'));
const quote = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

async function sign(signingConfig, token, form, file) {
  const builder = bundleBuilderFromSigningConfig({
    signingConfig: SigningConfig.fromJSON(json(signingConfig)),
    identityProvider: { getToken: async () => token },
    bundleType: form === 'dsse' ? 'dsseEnvelope' : 'messageSignature',
  });
  const type = form === 'dsse' ? 'application/vnd.in-toto+json' : undefined;
  const bundle = await builder.create({ data: readFileSync(file), type });
  process.stdout.write(JSON.stringify(bundleToJSON(bundle)));
}

function verify(trustedRoot, bundle, file, identity, issuer) {
  const material = toTrustMaterial(TrustedRoot.fromJSON(json(trustedRoot)));
  const entity = toSignedEntity(bundleFromJSON(json(bundle)), readFileSync(file));
  new Verifier(material).verify(entity, {
    subjectAlternativeName: `^${quote(identity)}$`, // a pattern that is searched for
    extensions: { issuer },
  });
}

const [command, ...args] = process.argv.slice(2);
try {
  await { sign, verify }[command](...args);
} catch (err) {
  for (let e = err; e; e = e.cause) console.error(`${e.name} ${e.code ?? ''}: ${e.message}`);
  process.exit(1);
}
