package packet

// readme tells how to check a packet by hand; a test runs its commands. Between
// the marks are shell commands for a folder into which the packet was unpacked.
const readme = `Evidence packet of auditcanary
==============================

It holds what privileged actions were done in a period to see whether they are
logged, what records of them were found, how those are kept, and the verdicts: a
slice of a signed, append-only ledger, with the proof that it is in it.

With the program:   auditcanary verify packet.zip --key KEY
(KEY is the ledger's verifier key, which you must have from somebody you trust and
not from this packet. Nothing else is needed, no network either.)

By hand: unpack it into an empty folder and run there, with the usual GNU tools
and openssl 3, what follows. Each must print OK.

1. The files are those of SHA256SUMS, SHA256SUMS is that of the manifest, and the
manifest is the one that was signed.
--8<--
if sed -n 's/^ *"sha256": "\([0-9a-f]*\)".*/\1/p' manifest.json | while read -r hash; do
  grep -q "^$hash  " SHA256SUMS || echo "not in SHA256SUMS: $hash"
done | grep . || while read -r hash name; do
  [ "$name" = manifest.json ] || grep -q "\"sha256\": \"$hash\"" manifest.json || echo "not in manifest.json: $name"
done < SHA256SUMS | grep .
then echo FAILED files
else sha256sum --quiet -c SHA256SUMS && echo OK files
fi
sed -n 's/^{"payloadType":"[^"]*","payload":"\([^"]*\)".*/\1/p' manifest.dsse.json | base64 -d > /tmp/statement.$$
grep -q "\"sha256\":\"$(sha256sum manifest.json | cut -c1-64)\"" /tmp/statement.$$ && echo OK manifest
-->8--

2. The statement over the manifest is signed (DSSE) with keys/packet.pem.
--8<--
sed -n 's/.*"sig":"\([^"]*\)".*/\1/p' manifest.dsse.json | base64 -d > /tmp/signature.$$
{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c < /tmp/statement.$$)"; cat /tmp/statement.$$; } > /tmp/signed.$$
if grep -q ED25519 <<EOF
$(openssl pkey -pubin -in keys/packet.pem -noout -text)
EOF
then openssl pkeyutl -verify -pubin -inkey keys/packet.pem -rawin -in /tmp/signed.$$ -sigfile /tmp/signature.$$ > /dev/null && echo OK signature
else openssl dgst -sha256 -verify keys/packet.pem -signature /tmp/signature.$$ /tmp/signed.$$ > /dev/null && echo OK signature
fi
-->8--

3. The ledger's checkpoint is signed (Ed25519) with keys/ledger.pem: the text is
what stands before the empty line, the signature follows four bytes that name the key.
--8<--
sed '/^$/,$d' ledger/checkpoint > /tmp/text.$$
sed -n 's/^.* \([A-Za-z0-9+\/=]*\)$/\1/p' ledger/checkpoint | tail -n 1 | base64 -d | tail -c +5 > /tmp/note.$$
openssl pkeyutl -verify -pubin -inkey keys/ledger.pem -rawin -in /tmp/text.$$ -sigfile /tmp/note.$$ > /dev/null && echo OK checkpoint
rm -f /tmp/statement.$$ /tmp/signature.$$ /tmp/signed.$$ /tmp/text.$$ /tmp/note.$$
-->8--

4. The keys are those that you trust: compare the SHA-256 below with what you were
given. The same key signs packet and ledger unless a key service signs the packet.
--8<--
openssl pkey -pubin -in keys/ledger.pem -outform DER | sha256sum
openssl pkey -pubin -in keys/packet.pem -outform DER | sha256sum
-->8--

5. If there is a timestamp, with the certificates of the authority in CA.pem:

openssl ts -verify -data manifest.dsse.json -in timestamp.tsr -CAfile CA.pem

6. The leaves are in the signed tree. ledger/proof.txt lists, from left to right, the
leaves of this packet and the hashes of all subtrees that are not in it (RFC 6962: a
leaf hashes to SHA-256 of a zero byte and the leaf, two subtrees to SHA-256 of a one
byte and both hashes). Hashing them together gives the root in the third line of
ledger/checkpoint. By hand that is practical for a small ledger only; the program does it.

What the entries of ledger/leaves.jsonl mean: each is a JSON object with its type.
planned, intent, receipt: what was done, with the request ids the provider gave.
sighted: a record as it was found, its exact bytes in base64, and where it stood.
kept, blob, public_key: the provider's signed digest that names the record's object.
rang, heard: an alert as it arrived, and what of it was taken for the canary's.
verdict: what follows; the last verdict in this packet of a canary counts.
register: which failures somebody accepted, who, and until when. It changes no verdict:
verdicts.csv says what was found, population.json how many of these are excepted. A packet
has all entries from the first of its period to the end of the ledger; one for a single
control has not, and later or other entries of its canaries may have been left out.

7. The provider signed for one record: the digest that names the record's object is
kept with its RSA signature and public key (in PKCS #1), in the entries of types kept,
blob and public_key. CANARY=ID chooses a canary, otherwise it is the first that is sealed.
--8<--
kept=$(grep '"type":"kept"' ledger/leaves.jsonl | grep '"digest":{' | grep "\"canary\":\"${CANARY:-}" | sed -n 1p)
if [ -n "$kept" ]; then
  link=$(printf '%s' "$kept" | sed 's/.*"digest":{\([^}]*\)}.*/\1/')
  field() { printf '%s' "$link" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
  file=$(printf '%s' "$kept" | sed 's/.*"kept":{"step":"[^"]*","at":{[^}]*"key":"\([^"]*\)".*/\1/')
  sum=$(printf '%s' "$kept" | sed 's/.*"object_sha256":"\([^"]*\)".*/\1/')
  previous=$(field previous_signature)
  d=$(mktemp -d)
  grep '"type":"blob"' ledger/leaves.jsonl | grep "\"sha256\":\"$(field sha256)\"" | sed 's/.*"data":"\([^"]*\)".*/\1/' |
    while read -r part; do printf '%s' "$part" | base64 -d; done | gunzip > "$d/digest"
  printf '%s\n%s/%s\n%s\n%s' "$(field end)" "$(field bucket)" "$(field key)" "$(sha256sum "$d/digest" | cut -c1-64)" "${previous:-null}" > "$d/signed"
  field signature | tr a-f A-F | basenc --base16 -d > "$d/signature"
  grep '"type":"public_key"' ledger/leaves.jsonl | grep "\"fingerprint\":\"$(field fingerprint)\"" | sed -n '1s/.*"der":"\([^"]*\)".*/\1/p' | base64 -d > "$d/key"
  openssl rsa -RSAPublicKey_in -inform DER -in "$d/key" -pubout -out "$d/key.pem" 2> /dev/null
  tr '{' '\n' < "$d/digest" | grep -F "\"$file\"" | grep -q "\"$sum\"" &&
    openssl dgst -sha256 -verify "$d/key.pem" -signature "$d/signature" "$d/signed" > /dev/null && echo OK digest
  rm -r "$d"
fi
-->8--
That the key is the provider's: aws cloudtrail list-public-keys names its fingerprint.

To see a record itself: grep '"type":"sighted"' ledger/leaves.jsonl | grep CANARY |
  sed -n '1s/.*"raw":"\([^"]*\)".*/\1/p' | base64 -d

What cannot be proven by any packet: that the ledger's owner did not keep a second
ledger beside this one. Keep the checkpoints of earlier packets: each later packet
must go on from them (auditcanary verify --pin).
`
