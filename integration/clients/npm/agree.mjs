// Verifies many bundles in one process, for the tests in integration/oracles. Each line of standard input is a JSON object
//
//   {"root": TRUSTED_ROOT, "bundle": BUNDLE, "artifact": BASE64, "identity": SUBJECT, "issuer": ISSUER}
//
// and each line of standard output is empty for one that verifies, or says why it does not.
import { createInterface } from 'node:readline';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { bundleFromJSON } from '@sigstore/bundle';
import { Verifier, toSignedEntity, toTrustMaterial } from '@sigstore/verify';

const quote = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

for await (const line of createInterface({ input: process.stdin })) {
  const { root, bundle, artifact, identity, issuer } = JSON.parse(line);
  let answer = '';
  try {
    const entity = toSignedEntity(bundleFromJSON(bundle), Buffer.from(artifact, 'base64'));
    new Verifier(toTrustMaterial(TrustedRoot.fromJSON(root))).verify(entity, {
      subjectAlternativeName: `^${quote(identity)}$`, // a pattern that is searched for
      extensions: { issuer },
    });
  } catch (err) {
    answer = `${err.name} ${err.code ?? ''}: ${err.message}`.replaceAll('\n', ' ');
  }
  console.log(answer);
}
