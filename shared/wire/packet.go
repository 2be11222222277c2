package wire

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/gcp"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/packet"
)

// Evidence is how packets are signed and where they are kept. All of it may be left
// out: then `auditcanary packet` writes files, signed with the ledger's key.
type Evidence struct {
	// Bucket with Object Lock that functions/packet writes to; Prefix of its keys.
	Bucket string `yaml:"bucket"`
	Prefix string `yaml:"prefix"`
	Region string `yaml:"region"`
	// RoleARN of the role that writes there and signs (s3:PutObject,
	// s3:PutObjectRetention, s3:GetObject, s3:ListBucket; kms:Sign, kms:GetPublicKey).
	// Empty: the base credentials.
	RoleARN string `yaml:"role_arn"`
	// RetainDays that a packet is locked for, in compliance mode (default 365).
	RetainDays int `yaml:"retain_days"`
	// KMSKey is the ARN of a key (ECC_NIST_P256, SIGN_VERIFY) that signs packets in
	// place of the ledger's key.
	KMSKey string `yaml:"kms_key"`
	// GCPKMSKey is the same in Google Cloud KMS: the name of a key version
	// (projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/1) of
	// EC_SIGN_P256_SHA256 or EC_SIGN_ED25519. Of kms_key and gcp_kms_key at most one.
	// Credentials are Google's application default ones: the file that
	// GOOGLE_APPLICATION_CREDENTIALS names (for a function on AWS one of workload
	// identity federation, which holds no secret), gcloud's, or the machine's own. They
	// need cloudkms.cryptoKeyVersions.useToSign and .viewPublicKey, both in
	// roles/cloudkms.signerVerifier on the key.
	GCPKMSKey string `yaml:"gcp_kms_key"`
	// GCPEndpointURL sends the calls to Cloud KMS there (Private Service Connect, a
	// test server): https, or http on this machine. Empty: Google's own endpoint.
	GCPEndpointURL string `yaml:"gcp_endpoint_url"`
	// TimestampURL of an RFC 3161 time-stamping authority, and TimestampCA, a PEM
	// file with the certificates that its own must lead to.
	TimestampURL string `yaml:"timestamp_url"`
	TimestampCA  string `yaml:"timestamp_ca"`
}

var keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/.+$`)

func (e Evidence) check(bad func(field, format string, args ...any)) {
	if e.Bucket != "" && !regionID.MatchString(e.Region) {
		bad("region", "evidence bucket %s: %q is not a region", e.Bucket, e.Region)
	}
	if e.RoleARN != "" && !roleARN.MatchString(e.RoleARN) {
		bad("role_arn", "role_arn %q is not the ARN of a role", e.RoleARN)
	}
	if e.RetainDays < 0 {
		bad("retain_days", "evidence.retain_days %d: at least 1", e.RetainDays)
	}
	if e.KMSKey != "" && !keyARN.MatchString(e.KMSKey) {
		bad("kms_key", "evidence.kms_key %q is not the ARN of a key", e.KMSKey)
	}
	if e.GCPKMSKey != "" {
		if err := gcp.CheckKey(e.GCPKMSKey); err != nil {
			bad("gcp_kms_key", "evidence.gcp_kms_key %v", err)
		}
	}
	if e.KMSKey != "" && e.GCPKMSKey != "" {
		bad("gcp_kms_key", "evidence.kms_key and evidence.gcp_kms_key: a packet has one signature, so give one of them")
	}
	if e.GCPEndpointURL != "" {
		if err := gcp.CheckEndpoint(e.GCPEndpointURL); err != nil {
			bad("gcp_endpoint_url", "evidence.gcp_endpoint_url %v", err)
		}
		if e.GCPKMSKey == "" {
			bad("gcp_endpoint_url", "evidence.gcp_endpoint_url: without a gcp_kms_key nothing is sent there")
		}
	}
	if u, err := url.Parse(e.TimestampURL); e.TimestampURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		bad("timestamp_url", "evidence.timestamp_url %q is not an http or https address", e.TimestampURL)
	}
	if (e.TimestampURL == "") != (e.TimestampCA == "") {
		bad("timestamp_ca", "evidence.timestamp_url and evidence.timestamp_ca go together: a timestamp that leads to no known root proves nothing")
	}
}

// PacketOptions are what the configuration says of packets: the ledger they are
// built from, the key they are signed with, and who stamps them.
func PacketOptions(ctx context.Context, c *Config, version string) (*ledger.Log, packet.Options, error) {
	o := packet.Options{SLO: c.CanarySLO(), Version: version}
	log, err := OpenLedger(ctx, c, ReadOnly)
	if err != nil {
		return nil, o, err
	}
	if o.Key, err = c.verifierKey(); err != nil {
		return nil, o, err
	}
	if o.Signer, err = c.packetSigner(ctx); err != nil {
		return nil, o, err
	}
	if c.Evidence.TimestampURL != "" {
		data, err := os.ReadFile(c.path(c.Evidence.TimestampCA))
		if err != nil {
			return nil, o, fmt.Errorf("evidence.timestamp_ca: %w", err)
		}
		if o.Roots, err = packet.ParseRoots(data); err != nil {
			return nil, o, err
		}
		o.Stamp = stamper(&http.Client{Timeout: 30 * time.Second}, c.Evidence.TimestampURL)
	}
	return log, o, nil
}

func (c *Config) packetSigner(ctx context.Context) (packet.Signer, error) {
	if arn := c.Evidence.KMSKey; arn != "" {
		cfg, err := c.evidenceAWS(ctx)
		if err != nil {
			return nil, err
		}
		cfg.Region = strings.Split(arn, ":")[3]
		return aws.NewPacketSigner(ctx, kms.NewFromConfig(cfg), arn)
	}
	if key := c.Evidence.GCPKMSKey; key != "" {
		client, err := gcp.NewClient(ctx, c.Evidence.GCPEndpointURL)
		if err != nil {
			return nil, err
		}
		return gcp.NewPacketSigner(ctx, client, key)
	}
	if c.Signing.KMSKey != "" { // the configuration was checked; a packet is longer than what that key may sign
		return nil, errors.New(needsPacketKey)
	}
	skey, err := c.signingKey()
	if err != nil {
		return nil, err
	}
	return packet.NewSigner(skey)
}

// evidenceAWS are the base settings under the role that keeps evidence.
func (c *Config) evidenceAWS(ctx context.Context) (awssdk.Config, error) {
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return base, err
	}
	return readerConfig(base, cmp.Or(c.Evidence.Region, base.Region), c.Evidence.RoleARN), nil
}

// stamper asks a time-stamping authority over HTTP (RFC 3161, section 3.4).
func stamper(client *http.Client, authority string) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, query []byte) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, authority, bytes.NewReader(query))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/timestamp-query")
		resp, err := client.Do(req)
		if err != nil {
			return nil, fmt.Errorf("ask the time-stamping authority: %w", err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return nil, fmt.Errorf("ask %s for a timestamp: %w", authority, err)
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("ask %s for a timestamp: %s", authority, resp.Status)
		}
		return data, nil
	}
}

// Stored says where a packet was put.
type Stored struct {
	Object string `json:"object"` // s3://bucket/key
	// Existed: it had been built before; nothing was written.
	Existed       bool          `json:"existed,omitempty"`
	RetainedUntil time.Time     `json:"retained_until,omitzero"`
	Period        packet.Period `json:"period"`
	Leaves        int64         `json:"leaves,omitempty"`
	// Previous is the packet whose checkpoint this one goes on from.
	Previous string `json:"previous,omitempty"`
}

// StorePacket builds the packet of a period and puts it into the evidence bucket,
// locked, beside its checkpoint (a small file to pin later packets by). A packet
// that is there already is left as it is. It goes on from the last packet before it.
func StorePacket(ctx context.Context, c *Config, period packet.Period, version string, now time.Time) (Stored, error) {
	out := Stored{Period: period}
	if c.Evidence.Bucket == "" {
		return out, errors.New("packet: the configuration has no evidence.bucket")
	}
	cfg, err := c.evidenceAWS(ctx)
	if err != nil {
		return out, err
	}
	prefix := c.Evidence.Prefix
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	store := aws.NewEvidenceStore(s3Client(cfg, c.Evidence.Region, ""), c.Evidence.Bucket, prefix)
	name := packetName(period)
	out.Object = store.URL(name + ".zip")
	names, err := store.List(ctx, "packet-")
	if err != nil {
		return out, err
	}
	if slices.Contains(names, name+".zip") {
		out.Existed = true
		if slices.Contains(names, name+".checkpoint") {
			return out, nil
		}
		// Whoever wrote the packet died before its checkpoint.
		r, size, err := store.Open(ctx, name+".zip")
		if err != nil {
			return out, err
		}
		return out, c.storeCheckpoint(ctx, store, name, r, size, now)
	}
	log, o, err := PacketOptions(ctx, c, version)
	if err != nil {
		return out, err
	}
	o.Period = period
	for _, n := range slices.Backward(names) { // sorted, and so by time
		if strings.HasSuffix(n, ".checkpoint") && n < name {
			if o.Previous, err = store.Get(ctx, n); err != nil {
				return out, err
			}
			out.Previous = store.URL(strings.TrimSuffix(n, ".checkpoint") + ".zip")
			break
		}
	}
	f, err := os.CreateTemp("", "packet-*.zip")
	if err != nil {
		return out, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	aside, err := os.CreateTemp("", "packet-*.scratch")
	if err != nil {
		return out, err
	}
	defer os.Remove(aside.Name())
	defer aside.Close()
	o.Scratch = aside
	m, err := packet.Build(ctx, f, log, o)
	if err != nil {
		return out, err
	}
	out.Leaves = m.Slice.Leaves
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return out, err
	}
	out.RetainedUntil = c.retainUntil(now)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return out, err
	}
	// The packet first: a checkpoint alone would make the next one go on from nothing.
	if out.Existed, err = store.Put(ctx, name+".zip", f, out.RetainedUntil); err != nil || out.Existed {
		return out, err
	}
	return out, c.storeCheckpoint(ctx, store, name, f, size, now)
}

func (c *Config) storeCheckpoint(ctx context.Context, store *aws.EvidenceStore, name string, zip io.ReaderAt, size int64, now time.Time) error {
	signed, err := packet.Checkpoint(zip, size)
	if err != nil {
		return fmt.Errorf("checkpoint of %s: %w", store.URL(name+".zip"), err)
	}
	_, err = store.Put(ctx, name+".checkpoint", bytes.NewReader(signed), c.retainUntil(now))
	return err
}

func (c *Config) retainUntil(now time.Time) time.Time {
	return now.UTC().AddDate(0, 0, cmp.Or(c.Evidence.RetainDays, 365)).Truncate(time.Second)
}

func packetName(p packet.Period) string {
	const stamp = "20060102T150405Z"
	return "packet-" + p.From.UTC().Format(stamp) + "-" + p.To.UTC().Format(stamp)
}

// lastPeriod is the last whole day or week (from Monday) in UTC of which every
// verdict is final: late arrivals amend one for a while.
func lastPeriod(now time.Time, every string, amend time.Duration) (packet.Period, error) {
	end := now.UTC().Add(-amend).Truncate(24 * time.Hour)
	switch every {
	case "", "daily":
		return packet.Period{From: end.AddDate(0, 0, -1), To: end}, nil
	case "weekly":
		end = end.AddDate(0, 0, -(int(end.Weekday()+6) % 7))
		return packet.Period{From: end.AddDate(0, 0, -7), To: end}, nil
	}
	return packet.Period{}, fmt.Errorf("packet: every %q: daily or weekly", every)
}

// packetStep is what functions/packet does.
func packetStep(ctx context.Context, c *Config, in Input, version string, now time.Time) (any, error) {
	period := packet.Period{From: in.From, To: in.To}
	if in.From.IsZero() != in.To.IsZero() {
		return nil, errors.New("packet: from and to go together")
	}
	if in.From.IsZero() {
		var err error
		if period, err = lastPeriod(now, in.Every, c.SLO.Amend.Duration); err != nil {
			return nil, err
		}
	}
	stored, err := StorePacket(ctx, c, period, version, now)
	tellPacket(ctx, err)
	if errors.Is(err, packet.ErrEmpty) {
		return map[string]any{"period": period, "empty": err.Error()}, nil
	}
	return stored, err
}
