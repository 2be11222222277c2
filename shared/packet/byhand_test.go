package packet

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ecdsaSigner signs as a key service does.
type ecdsaSigner struct{ key *ecdsa.PrivateKey }

func (s ecdsaSigner) Sign(_ context.Context, message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	return ecdsa.SignASN1(rand.Reader, s.key, sum[:])
}
func (s ecdsaSigner) KeyID() (string, error)   { return KeyID(s.Public()) }
func (s ecdsaSigner) Public() crypto.PublicKey { return &s.key.PublicKey }

func TestAPacketMayBeSignedWithAnotherKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := newMemoryBook(t)
	b.addRun(t, 2, true, testScenario)
	o := b.options(t)
	o.Signer = ecdsaSigner{key}
	packet := mustBuild(t, b, o)
	pem := string(unpack(t, packet).get(packetPEMFile))
	if err := verifyBytes(t, packet, Trust{Keys: []string{b.vkey, pem}}, VerifyOptions{}).Err(); err != nil {
		t.Error(err)
	}
	mustSay(t, "without the packet's key", verifyBytes(t, packet, Trust{Keys: []string{b.vkey}}, VerifyOptions{}), Untrusted, UntrustedKey)
	mustSay(t, "without the ledger's key", verifyBytes(t, packet, Trust{Keys: []string{pem}}, VerifyOptions{}), Untrusted, UntrustedKey)
	alone := verifyBytes(t, packet, Trust{Pin: checkpointOf(t, packet)}, VerifyOptions{})
	mustSay(t, "by a pin alone", alone, Untrusted, UntrustedKey)
	if said := alone.Problems[0].Detail; !strings.Contains(said, "give both keys") {
		t.Errorf("does not say which keys are needed: %s", said)
	}
	for _, bad := range []string{"", "nonsense", "a+b+c", pem + pem, strings.Replace(pem, "PUBLIC", "PRIVATE", 2)} {
		if _, err := Verify(t.Context(), strings.NewReader("x"), 1, Trust{Keys: []string{bad}}, VerifyOptions{}); err == nil {
			t.Errorf("key %.40q is taken for one", bad)
		}
	}
}

// TestItCanBeCheckedByHand runs the commands of README.txt, on packets signed with
// either kind of key, and on packets that were changed.
func TestItCanBeCheckedByHand(t *testing.T) {
	for _, tool := range []string{"openssl", "sha256sum", "sed", "base64", "basenc", "gunzip", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("no ", tool, " here")
		}
	}
	var script strings.Builder
	for _, block := range regexp.MustCompile(`(?s)--8<--\n(.*?)-->8--\n`).FindAllStringSubmatch(readme, -1) {
		script.WriteString(block[1])
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := newMemoryBook(t)
	b.addRun(t, 2, true, testScenario)
	unsealed := newMemoryBook(t)
	unsealed.addRun(t, 1, false, testScenario)
	ed, ec := b.options(t), b.options(t)
	ec.Signer = ecdsaSigner{key}
	good := unpack(t, mustBuild(t, b, ed))
	change := func(f files, name, old, new string) files {
		data := strings.Replace(string(f.get(name)), old, new, 1)
		if data == string(f.get(name)) {
			t.Fatalf("%s does not have %q", name, old)
		}
		return f.with(name, []byte(data))
	}
	all := []string{"files", "manifest", "signature", "checkpoint", "digest"}
	for _, tc := range []struct {
		name  string
		files files
		want  []string
	}{
		{"Ed25519", good, all},
		{"ECDSA", unpack(t, mustBuild(t, b, ec)), all},
		{"a verdict changed", change(good, verdictsFile, "pass", "late"), []string{"manifest", "signature", "checkpoint", "digest"}},
		{"the manifest changed", change(good, manifestFile, "v1.2.3", "v1.2.4"), []string{"signature", "checkpoint", "digest"}},
		{"the checkpoint changed", change(good, checkpointFile, testOrigin, "ledger.example/another"), []string{"manifest", "signature", "digest"}},
		{"the signature changed", change(good, envelopeFile, `"sig":"`, `"sig":"AAAA`), []string{"files", "manifest", "checkpoint", "digest"}},
		{"the digest's signature changed", change(good, leavesFile, `","signature":"`, `","signature":"00`), []string{"manifest", "signature", "checkpoint"}},
		{"the time that was signed changed", change(good, leavesFile, `T10:00:00Z","sha256"`, `T10:00:01Z","sha256"`), []string{"manifest", "signature", "checkpoint"}},
		{"the object's hash changed", change(good, leavesFile, `"kept":{"step":"disable","at":{"store":"central","bucket":"archive","key":"AWSLogs/1`, `"kept":{"step":"disable","at":{"store":"central","bucket":"archive","key":"AWSLogs/2`), []string{"manifest", "signature", "checkpoint"}},
		{"a record that no digest names", unpack(t, mustBuild(t, unsealed, unsealed.options(t))), []string{"files", "manifest", "signature", "checkpoint"}},
		{"sums that are another's", good.with(sumsFile, sumsOf([]File{{readmeFile, 1, hashOf(readme)}}, good.get(manifestFile))), []string{"manifest", "signature", "checkpoint", "digest"}},
		{"a sum too many", good.with(sumsFile, append(slices.Clone(good.get(sumsFile)), (hashOf("")+"  keys/more\n")...)), []string{"manifest", "signature", "checkpoint", "digest"}},
	} {
		dir := t.TempDir()
		for _, f := range tc.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f.name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script.String())
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		var ok []string
		for line := range strings.Lines(string(out)) {
			if what, is := strings.CutPrefix(strings.TrimSpace(line), "OK "); is {
				ok = append(ok, what)
			}
		}
		if !slices.Equal(ok, tc.want) {
			t.Errorf("%s: OK %v, want %v\n%s", tc.name, ok, tc.want, out)
		}
	}
}
