package packet

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// A ledger as the program writes it, without a cloud: each canary disables a key,
// its record stands in a log file with nine others, and an hourly digest that is
// really signed names the file.

const (
	testOrigin = "ledger.example/packets"
	// perFile records stand in a log file, perDigest of their canaries in a digest.
	perFile, perDigest = 10, 250
)

var (
	testSLO = canary.SLO{Pass: 15 * time.Minute, Late: time.Hour, Amend: 24 * time.Hour, Clock: 2 * time.Minute}
	day     = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
)

type memory struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (m *memory) Get(_ context.Context, path string) ([]byte, ledger.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.objects[path]
	if !ok {
		return nil, "", fmt.Errorf("memory %s: %w", path, ledger.ErrNotFound)
	}
	return bytes.Clone(data), versionOf(data), nil
}

func (m *memory) Put(_ context.Context, path string, data []byte, old ledger.Version) (ledger.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var now ledger.Version
	if have, ok := m.objects[path]; ok {
		now = versionOf(have)
	}
	if now != old {
		return "", fmt.Errorf("memory %s: %w", path, ledger.ErrConflict)
	}
	m.objects[path] = bytes.Clone(data)
	return versionOf(data), nil
}

func versionOf(data []byte) ledger.Version {
	return ledger.Version(fmt.Sprintf("%x", sha256.Sum256(data)))
}

// book is a ledger with its keys.
type book struct {
	// rings: each canary promises an alert, and it rings.
	rings      bool
	log        *ledger.Log
	skey, vkey string
	provider   *rsa.PrivateKey
	runs       int
	clock      time.Time
	last       trail.Link
	keyed      bool
	lie        func(*run.Entry) // changes what is written
}

// providerKey is made once for all time: making one is slow. It signs nothing else.
func providerKey(t testing.TB) *rsa.PrivateKey {
	data, err := os.ReadFile("testdata/provider.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

func newBook(t testing.TB, store ledger.Store) *book {
	t.Helper()
	skey, err := os.ReadFile("testdata/ledger.key")
	if err != nil {
		t.Fatal(err)
	}
	return newBookWith(t, store, string(bytes.TrimSpace(skey)))
}

func newBookWith(t testing.TB, store ledger.Store, skey string) *book {
	t.Helper()
	vkey, err := ledger.VerifierKey(skey)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	log, err := ledger.Open(t.Context(), store, testOrigin, signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	return &book{log: log, skey: skey, vkey: vkey, provider: providerKey(t), clock: day}
}

func (b *book) options(t testing.TB) Options {
	t.Helper()
	signer, err := NewSigner(b.skey)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Key: b.vkey, Signer: signer, SLO: testSLO, Version: "v1.2.3"}
}

func (b *book) append(t testing.TB, entries ...run.Entry) {
	t.Helper()
	var leaves [][]byte
	for _, e := range entries {
		e.V = 1
		if b.lie != nil {
			b.lie(&e)
		}
		if e.At.IsZero() {
			e.At = b.clock
		}
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, data)
	}
	if _, err := b.log.Append(t.Context(), leaves...); err != nil {
		t.Fatal(err)
	}
}

var testScenario = canary.Scenario{
	ID: "aws/kms-disable-key", Title: "A key is disabled", Category: "keys", Kind: canary.Decoy, Scope: "region",
	Controls: []string{"iso27017:2015/12.4.3"}, Harmless: "it encrypts nothing", Cost: "none",
	Steps: []canary.Step{{ID: "disable", Call: "kms:DisableKey", NoUndo: "it is enabled anew by the next"}},
	Hash:  "0000000000000000000000000000000000000000000000000000000000000001",
}

var otherScenario = canary.Scenario{
	ID: "aws/trail-stop", Title: "A trail is stopped", Category: "logging", Kind: canary.Decoy, Scope: "region",
	Controls: []string{"soc2/CC7.2"}, Harmless: "it selects nothing", Cost: "none",
	Steps: []canary.Step{{ID: "stop", Call: "cloudtrail:StopLogging", NoUndo: "a decoy"}},
	Hash:  "0000000000000000000000000000000000000000000000000000000000000002",
}

var testPlaces = []canary.Target{
	{Provider: "aws", Account: "111122223333", Region: "us-east-1"},
	{Provider: "aws", Account: "111122223333", Region: "eu-west-1"},
	{Provider: "aws", Account: "444455556666", Region: "us-east-1"},
}

// addRun lets n canaries of the scenarios be done, found, judged, and sealed if so
// asked; the clock goes on by a few hours.
func (b *book) addRun(t testing.TB, n int, sealed bool, scenarios ...canary.Scenario) string {
	t.Helper()
	b.runs++
	id := fmt.Sprintf("%s-run%03d", b.clock.Format("20060102"), b.runs)
	canaries := make([]canary.Canary, n)
	entries := []run.Entry{{Type: "begun", Run: id, Begun: &run.Begun{Version: "v1.2.3", ConfigHash: hashOf("config"), CatalogueHash: run.CatalogueHash(scenarios), Canaries: n}}}
	for i := range canaries {
		s := scenarios[i%len(scenarios)]
		c := canary.Canary{ID: fmt.Sprintf("%s-%02d", id, i+1), Run: id, Scenario: s.ID, ScenarioHash: s.Hash, Target: testPlaces[i%len(testPlaces)]}
		canaries[i] = c
		entries = append(entries, run.Entry{Type: "planned", Run: id, Canary: c.ID, Planned: &run.Plan{Canary: c, Scenario: s}})
	}
	b.appendMany(t, entries)
	entries = nil
	receipts := make([]canary.Receipt, n)
	raws := make([][]byte, n)
	for i, c := range canaries {
		step := scenarios[i%len(scenarios)].Steps[0]
		receipts[i], raws[i] = doing(t, c, step, b.clock, i)
		entries = append(entries,
			run.Entry{Type: "intent", Run: id, Canary: c.ID, Intent: &canary.Intent{Step: step.ID, Phase: canary.PhaseDo, Attempt: 1, Call: receipts[i].Call}},
			run.Entry{Type: "receipt", Run: id, Canary: c.ID, Receipt: &receipts[i]})
	}
	b.appendMany(t, entries)
	entries = nil
	for _, p := range testPlaces {
		entries = append(entries, run.Entry{Type: "listed", Run: id, Listed: &run.Listed{Target: p}})
	}
	b.append(t, append(entries, run.Entry{Type: "injected", Run: id, Injected: &run.Injected{}})...)
	listed := b.clock
	b.clock = b.clock.Add(20 * time.Minute)
	entries = nil
	for from := 0; from < n; from += perDigest {
		to := min(from+perDigest, n)
		files := b.files(id, raws[from:to])
		var kept []run.Kept
		var keys, blobs []run.Entry
		if sealed {
			kept, keys, blobs = b.seal(t, id, files)
			entries = append(append(entries, keys...), blobs...)
		}
		for i := from; i < to; i++ {
			entries = append(entries, b.found(t, canaries[i], scenarios[i%len(scenarios)], receipts[i], files[(i-from)/perFile], (i-from)%perFile, raws[i], listed, kept, (i-from)/perFile)...)
		}
		if len(entries) > 2000 {
			b.appendMany(t, entries)
			entries = nil
		}
	}
	b.appendMany(t, entries)
	b.clock = b.clock.Add(3 * time.Hour)
	return id
}

func (b *book) appendMany(t testing.TB, entries []run.Entry) {
	for len(entries) > 0 {
		k := min(len(entries), 4000)
		b.append(t, entries[:k]...)
		entries = entries[k:]
	}
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// doing is the receipt of a call, with the record that it leaves.
func doing(t testing.TB, c canary.Canary, step canary.Step, at time.Time, i int) (canary.Receipt, []byte) {
	requestID := hashOf(c.ID + step.ID)[:32]
	service, operation := "kms.amazonaws.com", "DisableKey"
	if step.Call != "kms:DisableKey" {
		service, operation = "cloudtrail.amazonaws.com", "StopLogging"
	}
	raw := fmt.Appendf(nil, `{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:%[1]s","arn":"arn:aws:sts::%[2]s:assumed-role/auditcanary-injector/%[1]s","accountId":"%[2]s","accessKeyId":"ASIAEXAMPLE","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE","arn":"arn:aws:iam::%[2]s:role/auditcanary/auditcanary-injector","accountId":"%[2]s","userName":"auditcanary-injector"},"attributes":{"creationDate":"%[3]s","mfaAuthenticated":"false"},"sourceIdentity":"auditcanary"}},"eventTime":"%[3]s","eventSource":"%[4]s","eventName":"%[5]s","awsRegion":"%[6]s","sourceIPAddress":"203.0.113.10","userAgent":"aws-sdk-go-v2/1.47.7 app/auditcanary","requestParameters":{"keyId":"1234abcd-12ab-34cd-56ef-%012[7]d"},"responseElements":null,"requestID":"%[8]s","eventID":"%[9]s","readOnly":false,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"%[2]s","eventCategory":"Management"}`,
		c.Name(), c.Target.Account, at.Format(time.RFC3339), service, operation, c.Target.Region, i, requestID, hashOf("event" + c.ID)[:32])
	want, err := event.ReadCloudTrail(raw)
	if err != nil {
		t.Fatal(err)
	}
	want.Metadata = event.Metadata{}
	return canary.Receipt{
		Canary: c.ID, Step: step.ID, Phase: canary.PhaseDo, Attempt: 1,
		Call:    canary.Call{Operation: step.Call, Region: c.Target.Region, Params: map[string]any{"KeyId": want.API.Request["keyId"]}},
		Started: at, Ended: at.Add(time.Second), RequestIDs: []string{requestID},
		Outcome: canary.Outcome{Result: canary.Succeeded}, Want: want,
	}, raw
}

// logFile is one that records stand in.
type logFile struct {
	key, sum string
	offsets  []int64
	stored   time.Time
}

func (b *book) files(runID string, raws [][]byte) (all []logFile) {
	for from := 0; from < len(raws); from += perFile {
		at := b.clock.Add(-10 * time.Minute)
		f := logFile{stored: at, key: fmt.Sprintf("AWSLogs/111122223333/CloudTrail/us-east-1/%s/111122223333_CloudTrail_us-east-1_%s_%016d.json.gz", at.Format("2006/01/02"), at.Format("20060102T1504Z"), b.runs*1_000_000+len(all)*perFile+from)}
		file := []byte(`{"Records":[`)
		for i, raw := range raws[from:min(from+perFile, len(raws))] {
			if i > 0 {
				file = append(file, ',')
			}
			f.offsets = append(f.offsets, int64(len(file)))
			file = append(file, raw...)
		}
		f.sum = hashOf(string(append(file, ']', '}')) + runID)
		all = append(all, f)
	}
	return all
}

// seal makes the digest that names some files, and one after it.
func (b *book) seal(t testing.TB, runID string, files []logFile) (kept []run.Kept, keys, blobs []run.Entry) {
	t.Helper()
	der := x509.MarshalPKCS1PublicKey(&b.provider.PublicKey)
	sum := md5.Sum(der)
	fingerprint := hex.EncodeToString(sum[:])
	if !b.keyed {
		b.keyed = true
		keys = append(keys, run.Entry{Type: "public_key", PublicKey: &trail.PublicKey{Fingerprint: fingerprint, DER: der}})
	}
	var digests []trail.Link
	var plain []byte
	for i := range 2 {
		end := b.clock.Add(time.Duration(i) * time.Hour).Truncate(time.Hour)
		start := end.Add(-time.Hour)
		logs := []map[string]any{}
		if i == 0 {
			for _, f := range files {
				logs = append(logs, map[string]any{"s3Bucket": "archive", "s3Object": f.key, "hashValue": f.sum, "hashAlgorithm": "SHA-256"})
			}
		}
		link := trail.Link{
			Bucket: "archive", Key: fmt.Sprintf("AWSLogs/111122223333/CloudTrail-Digest/us-east-1/%s/111122223333_CloudTrail-Digest_us-east-1_t_us-east-1_%s.json.gz", end.Format("2006/01/02"), end.Format("20060102T150405Z")),
			Start: start, End: end, PreviousSignature: b.last.Signature, Fingerprint: fingerprint,
		}
		d := map[string]any{
			"awsAccountId": "111122223333", "digestStartTime": start.Format(time.RFC3339), "digestEndTime": end.Format(time.RFC3339),
			"digestS3Bucket": link.Bucket, "digestS3Object": link.Key, "digestPublicKeyFingerprint": fingerprint, "digestSignatureAlgorithm": "SHA256withRSA",
			"logFiles": logs, "previousDigestS3Bucket": nil, "previousDigestS3Object": nil, "previousDigestHashValue": nil, "previousDigestHashAlgorithm": nil, "previousDigestSignature": nil,
		}
		previous := "null"
		if b.last.Signature != "" {
			d["previousDigestS3Bucket"], d["previousDigestS3Object"], d["previousDigestHashValue"] = b.last.Bucket, b.last.Key, b.last.SHA256
			d["previousDigestHashAlgorithm"], d["previousDigestSignature"] = "SHA-256", b.last.Signature
			previous = b.last.Signature
		}
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			plain = text
		}
		link.SHA256 = hashOf(string(text))
		signed := sha256.Sum256([]byte(end.Format("2006-01-02T15:04:05Z") + "\n" + link.Bucket + "/" + link.Key + "\n" + link.SHA256 + "\n" + previous))
		signature, err := rsa.SignPKCS1v15(nil, b.provider, crypto.SHA256, signed[:])
		if err != nil {
			t.Fatal(err)
		}
		link.Signature = hex.EncodeToString(signature)
		b.last = link
		digests = append(digests, link)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	// In two parts, as a large one has.
	half := packed.Len() / 2
	for i, part := range [][]byte{packed.Bytes()[:half], packed.Bytes()[half:]} {
		blobs = append(blobs, run.Entry{Type: "blob", Run: runID, Blob: &run.Blob{SHA256: digests[0].SHA256, Part: i + 1, Parts: 2, Data: part}})
	}
	for _, f := range files {
		kept = append(kept, run.Kept{
			Custody: canary.Custody{
				Stored: f.stored, Looked: b.clock.Add(2 * time.Hour), Required: canary.Keeping{Mode: canary.Compliance, Days: 365, Digested: 2 * time.Hour, Overdue: 24 * time.Hour},
				Seal: canary.Seal{Digest: digests[0].Key, LogSHA256: f.sum, Head: digests[1].Key},
				Held: canary.Held{Mode: canary.Compliance, Until: f.stored.AddDate(2, 0, 0), Bucket: canary.BucketHeld{Versioning: "Enabled", DefaultMode: canary.Compliance, DefaultDays: 400}},
			},
			Digest: &digests[0], Path: digests[1:],
		})
	}
	return kept, keys, blobs
}

// found are the entries of a record that was found: itself, how it is kept, and the
// verdict that the judge gives.
func (b *book) found(t testing.TB, c canary.Canary, s canary.Scenario, r canary.Receipt, f logFile, i int, raw []byte, listed time.Time, kept []run.Kept, file int) []run.Entry {
	at := canary.Location{Store: "central", Bucket: "archive", Key: f.key, VersionID: "v1", Offset: f.offsets[i], Length: int64(len(raw)), ObjectSHA256: f.sum}
	ev, err := event.ReadCloudTrail(raw)
	if err != nil {
		t.Fatal(err)
	}
	evidence := canary.Evidence{
		Intents:  []canary.Intent{{Step: r.Step, Phase: canary.PhaseDo, Attempt: 1, Call: r.Call}},
		Receipts: []canary.Receipt{r}, Cleanup: canary.Cleanup{Listed: listed},
	}
	entries := []run.Entry{{Type: "sighted", Run: c.Run, Canary: c.ID, Sighted: &run.Sighted{
		Step: r.Step, At: at, Stored: f.stored, Raw: raw, EventUID: ev.Metadata.UID, RequestID: ev.API.RequestUID, Actor: ev.Actor.UID, Operation: ev.API.Operation}}}
	if kept != nil {
		k := kept[file]
		k.Step, k.At = r.Step, at
		evidence.Custody = []canary.Custody{k.Custody}
		entries = append(entries, run.Entry{Type: "kept", Run: c.Run, Canary: c.ID, Kept: &k})
	}
	if b.rings {
		rang := canary.Rang{Alert: "changed", ID: "m-" + c.ID, At: r.Want.Time.Add(time.Minute), RequestIDs: r.RequestIDs}
		h := canary.Hearing{
			Promise: canary.Promise{Alert: "changed", On: canary.OnAllowed}, Listened: b.clock, AsOf: b.clock,
			Demanded: &canary.Heeding{Within: 5 * time.Minute, Late: 30 * time.Minute, Clock: time.Minute},
			Heard:    []canary.Heard{{ID: rang.ID, At: rang.At, By: canary.ByRequest, Name: r.RequestIDs[0], Step: r.Step}},
		}
		evidence.Hearings = []canary.Hearing{h}
		entries = append(entries, run.Entry{Type: "rang", Run: c.Run, Canary: c.ID, Rang: &rang}, run.Entry{Type: "heard", Run: c.Run, Canary: c.ID, Heard: &h})
	}
	seen := canary.Seen{AsOf: b.clock, Sightings: []canary.Sighting{{Event: ev, Raw: raw, At: at, Stored: f.stored}}}
	v := canary.Judge(s, c, evidence, seen, testSLO)
	return append(entries, run.Entry{Type: "verdict", Run: c.Run, Canary: c.ID, Verdict: &v})
}

// mustBuild builds a packet twice, keeping some canaries at once and all of them: it
// must be the same. (Where a signature or a timestamp is not, the entries' meaning is.)
func mustBuild(t testing.TB, b *book, o Options) []byte {
	t.Helper()
	var w, again bytes.Buffer
	if _, err := Build(t.Context(), &w, b.log, o); err != nil {
		t.Fatal(err)
	}
	o.parts = 1
	if _, err := Build(t.Context(), &again, b.log, o); err != nil {
		t.Fatal(err)
	}
	one, other := unpack(t, w.Bytes()), unpack(t, again.Bytes())
	for _, name := range []string{populationFile, verdictsFile, leavesFile, proofFile, manifestFile} {
		if !bytes.Equal(one.get(name), other.get(name)) {
			t.Errorf("%s depends on how many canaries are kept at a time:\n%.2000s\n%.2000s", name, one.get(name), other.get(name))
		}
	}
	return w.Bytes()
}

// verifyBytes verifies a packet twice, keeping all canaries at once and (nearly) one at a time:
// the report must be the same, but for the order of the problems.
func verifyBytes(t testing.TB, data []byte, trust Trust, o VerifyOptions) Report {
	t.Helper()
	var reports [2]Report
	var texts [2]string
	for i, parts := range []int{1, 500} {
		var err error
		o.parts = parts
		if reports[i], err = Verify(t.Context(), bytes.NewReader(data), int64(len(data)), trust, o); err != nil {
			t.Fatal(err)
		}
		r := reports[i]
		r.Problems = slices.SortedStableFunc(slices.Values(r.Problems), func(a, b Problem) int {
			return strings.Compare(fmt.Sprint(a.Name, a.Detail), fmt.Sprint(b.Name, b.Detail))
		})
		text, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	if texts[0] != texts[1] && len(reports[0].Problems) < maxProblems {
		t.Errorf("the report depends on how many canaries are kept at a time:\n%.4000s\n%.4000s", texts[0], texts[1])
	}
	return reports[0]
}

func checkpointOf(t testing.TB, packet []byte) []byte {
	t.Helper()
	signed, err := Checkpoint(bytes.NewReader(packet), int64(len(packet)))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func verifierOf(t testing.TB, vkey string) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func envelopeOver(t testing.TB, signer Signer, payload []byte) []byte {
	t.Helper()
	es, err := dsse.NewEnvelopeSigner(signer)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := es.SignPayload(t.Context(), payloadType, payload)
	if err != nil {
		t.Fatal(err)
	}
	data, err := encodeEnvelope(envelope)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
