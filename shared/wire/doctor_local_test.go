package wire

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/doctor"
	"github.com/auditcanary/auditcanary/shared/inventory"
)

// TestDoctorLooksAtEverySecretThatIsNamed, those of a log store too.
func TestDoctorLooksAtEverySecretThatIsNamed(t *testing.T) {
	c, err := storeConfig(t, `{name: audit, type: victorialogs, url: "https://logs.example.com", selector: '{job="kube-audit"}', bearer_env: LOGS_TOKEN}`)
	if err != nil {
		t.Fatal(err)
	}
	c.Trigger = &Trigger{Slack: &TriggerSlack{SigningSecretEnv: "SLACK_SECRET"}, Callers: []TriggerCaller{{KeyEnv: "CI_KEY"}}}
	want := []namedSecret{{"log_stores.0.bearer_env", "LOGS_TOKEN"}, {"trigger.slack.signing_secret_env", "SLACK_SECRET"}, {"trigger.callers.0.key_env", "CI_KEY"}}
	if got := c.namedSecrets(); !slices.Equal(got, want) {
		t.Errorf("named are %q, want %q", got, want)
	}
	t.Setenv("SLACK_SECRET", slackSecret)
	t.Setenv("CI_KEY", ciKey)
	t.Setenv("LOGS_TOKEN", "")
	p := &patient{cfg: c}
	if got := p.secrets(t.Context()); len(got) != 1 || got[0].Status != doctor.Wrong || !strings.Contains(got[0].Seen, "log_stores.0.bearer_env: environment variable LOGS_TOKEN is empty") {
		t.Errorf("%+v", got)
	}
	t.Setenv("LOGS_TOKEN", "t0ken")
	if got := p.secrets(t.Context()); len(got) != 1 || got[0].Status != doctor.OK {
		t.Errorf("%+v", got)
	}
}

// TestWhatDoctorDoesNotExamineIsUnknown, and never ok.
func TestWhatDoctorDoesNotExamineIsUnknown(t *testing.T) {
	c, err := storeConfig(t, `{name: audit, type: loki, url: "http://127.0.0.1:3100", selector: '{job="kube-audit"}'}`)
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{cfg: c, sources: func(context.Context) (inventory.Report, error) { return inventory.Report{}, nil }}
	if got := p.clusters(t.Context()); len(got) != 1 || got[0].Status != doctor.Skipped {
		t.Errorf("without a cluster: %+v", got)
	}
	c.Clusters = []Cluster{{Name: "prod-eu"}, {Name: "prod-us"}}
	for what, got := range map[string][]doctor.Finding{"clusters": p.clusters(t.Context()), "archive": p.archive(t.Context()), "trails": p.weighed("trails")(t.Context()), "protection": p.weighed("protection")(t.Context())} {
		if len(got) == 0 {
			t.Errorf("%s: nothing is said", what)
		}
		for _, f := range got {
			if f.Status != doctor.Unknown || !strings.Contains(f.Seen, "was not examined") || !strings.Contains(f.Fix, "auditcanary run --target prod-") {
				t.Errorf("%s: %+v", what, f)
			}
		}
	}
}

// TestTheKeyOfTheLedgerInKMSIsTheOneItIsTrustedBy: the key itself is asked, and no file.
func TestTheKeyOfTheLedgerInKMSIsTheOneItIsTrustedBy(t *testing.T) {
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "x", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	public := func(seed byte) ed25519.PublicKey {
		return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(seed), 32))).Public().(ed25519.PublicKey)
	}
	vkey, err := note.NewEd25519VerifierKey("example.com/ledger", public('a'))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		seed   byte // 0: the call is refused
		status doctor.Status
		seen   string
	}{
		{"the same", 'a', doctor.OK, "is the key of signing.verifier, example.com/ledger+"},
		{"another", 'b', doctor.Wrong, "is another key"},
		{"refused", 0, doctor.Wrong, "AccessDenied"},
	} {
		var signed bool
		kms := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			signed = signed || strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".Sign")
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			if tc.seed == 0 {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"__type":"AccessDeniedException","message":"no"}`)
				return
			}
			der, _ := x509.MarshalPKIXPublicKey(public(tc.seed))
			_ = json.NewEncoder(w).Encode(map[string]any{"KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY", "PublicKey": der})
		}))
		c := celled(t)
		c.AWS.EndpointURL = kms.URL
		c.Signing = Signing{KMSKey: "arn:aws:kms:eu-central-1:999999999999:key/11111111-2222-3333-4444-555555555555", Verifier: vkey}
		if f := c.signerFinding(t.Context(), verifier); f.Status != tc.status || !strings.Contains(f.Seen, tc.seen) || (f.Status == doctor.OK) != strings.Contains(f.Seen, "kms:Sign itself was not tried") || signed {
			t.Errorf("%s: %+v, signed: %v", tc.name, f, signed)
		}
		kms.Close()
	}
}
