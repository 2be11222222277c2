package story

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
)

// verifierCmd puts the verifier key that a file holds into the configuration.
func verifierCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: verifier FILE")
	}
	file := ts.Getenv("AUDITCANARY_CONFIG")
	data, err := os.ReadFile(file)
	ts.Check(err)
	var kept []string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "  verifier: ") {
			continue
		}
		kept = append(kept, line)
		if strings.HasPrefix(line, "signing:") {
			kept = append(kept, "  verifier: "+strings.TrimSpace(ts.ReadFile(args[0]))+"\n")
		}
	}
	ts.Check(os.WriteFile(file, []byte(strings.Join(kept, "")), 0o600))
}

// packetkeyCmd prints the public half of the key that signs packets, as
// `aws kms get-public-key` gives it.
func packetkeyCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: packetkey")
	}
	k := cloud.WorldRootKey(cloud.ToolAccount)
	client := kms.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(ts.Getenv("AWS_ENDPOINT_URL")), Credentials: credentials.NewStaticCredentialsProvider(k.ID, k.Secret, "")})
	out, err := client.GetPublicKey(context.Background(), &kms.GetPublicKeyInput{KeyId: aws.String(cloud.PacketKey())})
	ts.Check(err)
	_, err = x509.ParsePKIXPublicKey(out.PublicKey)
	ts.Check(err)
	ts.Check(pem.Encode(ts.Stdout(), &pem.Block{Type: "PUBLIC KEY", Bytes: out.PublicKey}))
}

// TestNothingIsDoneThatTheKeyDidNotSign: KMS stops signing in the middle of a run. From
// then on no canary begins and no call is made whose intent is not in the signed
// ledger; what was made before is swept once the key signs again.
func TestNothingIsDoneThatTheKeyDidNotSign(t *testing.T) {
	t.Parallel()
	sb := newProber(t).sb
	auditcanaryCmd := func(args ...string) (stdout, stderr string, code int) {
		cmd := exec.Command(filepath.Join(bin, "auditcanary"), args...)
		cmd.Env = sb.environ()
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // the code says it
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	vkey, stderr, code := auditcanaryCmd("ledger", "keygen", "--kms", cloud.LedgerKey(), "auditcanary.example/demo")
	if code != 0 {
		t.Fatal(stderr)
	}
	text, err := os.ReadFile(sb.Config)
	if err != nil {
		t.Fatal(err)
	}
	for old, new := range map[string]string{
		"  key_file: signing.key\n": "  kms_key: " + cloud.LedgerKey() + "\n  verifier: " + vkey,
		"evidence: {":               "evidence: {kms_key: '" + cloud.PacketKey() + "', ",
	} {
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("no %q in the configuration", old)
		}
		text = bytes.ReplaceAll(text, []byte(old), []byte(new))
	}
	if err := os.WriteFile(sb.Config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	admin := func(method, path, body string, into any) {
		t.Helper()
		if err := sb.admin(method, path, body, into); err != nil {
			t.Fatal(err)
		}
	}
	admin(http.MethodPut, "faults", `faults:
  - name: the key is about to be deleted
    at: call
    match: 'it.service == "kms" && it.operation == "Sign" && it.n > 120'
    do: {error: {code: KMSInvalidStateException, message: it is pending deletion., status: 400, when: before}}
`, nil)
	_, stderr, code = auditcanaryCmd("inject", "--target", probed)
	for _, want := range []string{"did not sign the ledger's checkpoint, so that nothing further is done", cloud.LedgerKey(), "aws kms cancel-key-deletion"} {
		if code != 2 || !strings.Contains(stderr, want) {
			t.Fatalf("exit code %d, %q is not in\n%s", code, want, stderr)
		}
	}
	var calls []cloud.CallLog
	admin(http.MethodGet, "calls", "", &calls)
	intents := map[string]bool{} // canary and operation
	shown, stderr, code := auditcanaryCmd("ledger", "show")
	if code != 0 {
		t.Fatal(stderr)
	}
	planned := 0
	for line := range strings.Lines(shown) {
		var e run.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Planned != nil {
			planned++
		}
		if e.Intent != nil {
			intents[e.Canary+" "+e.Intent.Call.Operation] = true
		}
	}
	done, refused := map[string]bool{}, 0
	for _, c := range calls {
		if c.Operation == "Sign" && c.Error != "" {
			refused++
		}
		_, canaryID, ok := strings.Cut(c.Principal, "/auditcanary-injector/auditcanary-")
		if !ok || !c.Mutating {
			continue
		}
		done[canaryID] = true
		if !intents[canaryID+" "+c.Service+":"+c.Operation] {
			t.Errorf("canary %s made %s:%s, and no intent of it was signed", canaryID, c.Service, c.Operation)
		}
	}
	if len(done) == 0 || len(done) >= planned/2 || refused == 0 {
		t.Fatalf("%d of %d canaries acted, %d signatures refused: the key was to fail in the middle", len(done), planned, refused)
	}

	admin(http.MethodPut, "faults", "faults: []\n", nil)
	if out, stderr, code := auditcanaryCmd("sweep", "--json"); code != 0 {
		t.Errorf("sweep: exit code %d\n%s%s", code, out, stderr)
	}
	var state struct{ Changes []cloud.Change }
	admin(http.MethodGet, "state", "", &state)
	if len(state.Changes) != 0 {
		t.Errorf("left: %+v", state.Changes)
	}
	if out, stderr, code := auditcanaryCmd("ledger", "verify"); code != 0 {
		t.Errorf("the ledger: %s%s", out, stderr)
	}
}
