package wire

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/auditcanary/auditcanary/shared/access"
	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/doctor"
	"github.com/auditcanary/auditcanary/shared/inventory"
	"github.com/auditcanary/auditcanary/shared/run"
)

// credentials asks who we are; what time it is there comes with the answer.
func (p *patient) credentials(ctx context.Context) []doctor.Finding {
	var err error
	if p.caller, err = aws.WhoAmI(ctx, p.base, p.clock); err != nil {
		f := failed(err, "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to credentials that may assume the roles; aws sts get-caller-identity shows which are in use")
		if p.base.Credentials == nil || strings.Contains(err.Error(), "no usable credentials") {
			f.Status = doctor.Wrong
		}
		return []doctor.Finding{f}
	}
	return ok("we are %s", p.caller.ARN)
}

func (p *patient) clocks(context.Context) []doctor.Finding {
	who, limit := p.caller, p.cfg.SLO.Clock.Duration
	if who.NoDate {
		return []doctor.Finding{{Status: doctor.Unknown, Seen: "the provider's reply has no Date", Fix: "look whether a proxy takes it away (aws.endpoint_url)"}}
	}
	ahead := who.Ahead.Round(100 * time.Millisecond)
	if ahead.Abs() > limit+who.Give {
		where := "behind"
		if ahead < 0 {
			where = "ahead of"
		}
		return []doctor.Finding{{
			Status: doctor.Wrong, Seen: fmt.Sprintf("this machine's clock is %s %s the provider's, more than slo.clock (%s)", ahead.Abs(), where, limit),
			Fix: "set this machine's clock by NTP (timedatectl set-ntp true, or chronyc makestep)",
		}}
	}
	return ok("this machine's clock and the provider's differ by %s (limit %s, slo.clock)", ahead.Abs(), limit)
}

// injector assumes the role as a canary does, and throws the session away unused.
func (p *patient) injector(ctx context.Context, account string) []doctor.Finding {
	t := p.target(account)
	arn, err := aws.TryRole(ctx, p.base, t.Regions[0], t.RoleARN, os.Getenv(t.ExternalIDEnv))
	if err != nil {
		fix := fmt.Sprintf("deploy the member template in %s, or correct role_arn; its trust policy must allow %s sts:AssumeRole and sts:SetSourceIdentity (source identity %s)", account, p.caller.ARN, canary.Marker)
		if t.ExternalIDEnv != "" {
			fix += "; the external id in " + t.ExternalIDEnv + " must be the one of the trust policy"
		}
		return []doctor.Finding{failed(err, fix)}
	}
	return ok("assumed as %s with source identity, session policy and %s; the session was not used", arn, cmp.Or(map[bool]string{true: "external id"}[t.ExternalIDEnv != ""], "no external id"))
}

// externalID tries a wrong one: a deputy that takes any can be confused.
func (p *patient) externalID(ctx context.Context, account string) []doctor.Finding {
	t := p.target(account)
	if t.ExternalIDEnv == "" {
		return skipped("no external id is configured (targets.external_id_env); one is needed where somebody else's account may assume the role")
	}
	arn, err := aws.TryRole(ctx, p.base, t.Regions[0], t.RoleARN, "wrong-"+rand.Text())
	switch {
	case err == nil:
		return []doctor.Finding{{
			Status: doctor.Wrong, Seen: fmt.Sprintf("a wrong external id was accepted (%s)", arn),
			Fix: fmt.Sprintf(`add to the trust policy of %s: "Condition": {"StringEquals": {"sts:ExternalId": "(what %s holds)"}}`, t.RoleARN, t.ExternalIDEnv),
		}}
	case aws.Denied(err):
		return ok("a wrong external id was refused")
	}
	return []doctor.Finding{{Status: doctor.Unknown, Seen: err.Error(), Fix: "run it again; a wrong external id must be refused with AccessDenied"}}
}

func (p *patient) inspectorRole(ctx context.Context, account string) []doctor.Finding {
	if p.inspector == nil {
		return []doctor.Finding{{Status: doctor.Unknown, Seen: errNoInspection.Error(), Fix: "inspection: {role: auditcanary/auditcanary-inspector}"}}
	}
	if err := p.inspector.Enter(ctx, account); err != nil {
		return []doctor.Finding{failed(err, fmt.Sprintf("deploy the member template in %s, or correct inspection.role; its trust policy must allow %s sts:AssumeRole and sts:SetSourceIdentity (source identity %s-inspector), with the external id of inspection.external_id_env if it wants one", account, p.caller.ARN, canary.Marker))}
	}
	return ok("assumed %s", p.inspector.RoleARN(account))
}

// rolesOf reads an account's roles, once.
func (p *patient) rolesOf(ctx context.Context, account string) (*aws.Roles, error) {
	p.mu.Lock()
	read, known := p.roles[account]
	if !known {
		read = sync.OnceValues(func() (*aws.Roles, error) { return p.inspector.Roles(ctx, account) })
		p.roles[account] = read
	}
	p.mu.Unlock()
	return read()
}

const letInspect = "allow the inspector role what it reads here (the member template does); auditcanary sources names what is missing"

// maxNamed is how many things of one kind are told by name.
const maxNamed = 5

func (p *patient) permissions(ctx context.Context, account string) []doctor.Finding {
	roles, err := p.rolesOf(ctx, account)
	if err != nil {
		f := failed(err, letInspect)
		f.Status = doctor.Unknown
		return []doctor.Finding{f}
	}
	t := p.target(account)
	role := roles.Named(t.RoleARN)
	if role == nil {
		return []doctor.Finding{{Status: doctor.Wrong, Seen: "there is no role " + t.RoleARN, Fix: "deploy the member template, or correct role_arn"}}
	}
	documents, err := Permissions(p.cfg, slices.DeleteFunc(slices.Clone(p.plans), func(x run.Plan) bool { return x.Canary.Target.Account != account }))
	if err != nil {
		return []doctor.Finding{{Status: doctor.Unknown, Seen: err.Error(), Fix: "please report this; it is a mistake of this program's"}}
	}
	var lacking, undecided []access.Need
	for _, raw := range documents[account] {
		doc, err := access.ParseDocument(raw)
		if err != nil {
			return []doctor.Finding{{Status: doctor.Unknown, Seen: err.Error(), Fix: "please report this; it is a mistake of this program's"}}
		}
		no, perhaps := role.Lacks(doc)
		lacking, undecided = append(lacking, no...), append(undecided, perhaps...)
	}
	var out []doctor.Finding
	if len(lacking) > 0 {
		out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("%s lacks %s", t.RoleARN, several(lacking)), Fix: fmt.Sprintf("attach the policies that this prints: auditcanary plan --json | jq '.permissions[%q][]'", account)})
	}
	if len(undecided) > 0 {
		out = append(out, doctor.Finding{Status: doctor.Unknown, Seen: fmt.Sprintf("by its policies alone it is not decided whether %s may do %s", t.RoleARN, several(undecided)), Fix: "compare them with what auditcanary plan prints, or ask IAM's policy simulator; a run tells for certain"})
	}
	if out == nil {
		return ok("the policies of %s grant all that the selected scenarios need; what the organisation or a resource's own policy forbids shows only in a run", t.RoleARN)
	}
	return out
}

func several[T fmt.Stringer](list []T) string {
	var names []string
	for _, x := range list[:min(len(list), maxNamed)] {
		names = append(names, x.String())
	}
	text := strings.Join(names, ", ")
	if more := len(list) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (p *patient) fixtures(ctx context.Context, account string) (out []doctor.Finding) {
	roles, err := p.rolesOf(ctx, account)
	if err != nil {
		f := failed(err, letInspect)
		f.Status = doctor.Unknown
		return []doctor.Finding{f}
	}
	t := p.target(account)
	good, unread := 0, map[string]int{} // where in out a call that failed is told
	for _, f := range p.inspector.Fixtures(ctx, aws.Target{Account: account, Regions: t.Regions, RoleARN: t.RoleARN, Fixtures: t.Fixtures}, roles) {
		region := f.Region
		if region == "*" {
			region = ""
		}
		one := doctor.Finding{Region: region}
		what := f.Name + " " + f.ID
		switch {
		case f.Err != nil && unread[f.Reads] > 0: // the same once more
			first := &out[unread[f.Reads]-1]
			first.Region, first.Seen = "", first.Seen+"; nor "+strings.TrimPrefix(region+" ", " ")+what
			continue
		case f.Err != nil:
			one.Status, one.Seen, one.Fix = doctor.Unknown, what+" could not be looked at: "+f.Err.Error(), strings.TrimSpace("let the inspector role do "+f.Reads)+" (the member template does)"
			unread[f.Reads] = len(out) + 1
		case f.Fault != "":
			one.Status, one.Seen, one.Fix = doctor.Wrong, what+": "+f.Fault, f.Fix
		case f.Own:
			one.Status, one.Seen = doctor.Skipped, what+": a fixture of your own; what kind of thing it is is not known here"
		default:
			good++
			continue
		}
		out = append(out, one)
	}
	var missing []string
	for _, plan := range p.plans {
		if at := plan.Canary.Target; plan.NotRun != "" && at.Account == account {
			line := fmt.Sprintf("%s cannot run in %s: %s", plan.Scenario.ID, at.Region, plan.NotRun)
			if !slices.Contains(missing, line) {
				missing = append(missing, line)
			}
		}
	}
	for _, line := range missing {
		out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: line, Fix: "deploy the fixture and name it under targets.fixtures, or, where that is a decision, exclude the scenario (scenarios.exclude)"})
	}
	if good > 0 {
		out = append(ok("%d fixtures are there, with their names and tags", good), out...)
	}
	if out == nil {
		return skipped("no fixtures are configured, and none is needed")
	}
	return out
}

// reader is the archive as confirm reads it.
func (p *patient) store() (LogStore, string) {
	s := p.cfg.LogStores[0]
	return s, fmt.Sprintf("allow %s s3:ListBucket on arn:aws:s3:::%s and s3:GetObject on arn:aws:s3:::%s/*, in its own policy and the bucket's, or correct log_stores (bucket, region, role_arn)", cmp.Or(s.RoleARN, "these credentials"), s.Bucket, s.Bucket)
}

func (p *patient) archive(ctx context.Context) []doctor.Finding {
	s, fix := p.store()
	if s.Type != archiveType {
		return []doctor.Finding{p.notExamined(s)}
	}
	a := newArchive(s3Client(p.base, s.Region, s.RoleARN), s)
	root, elsewhere, there, err := a.First(ctx)
	switch {
	case err != nil:
		return []doctor.Finding{failed(err, fix)}
	case there:
		return ok("s3://%s can be listed, and has CloudTrail's layout below %s", s.Bucket, root)
	case elsewhere != "":
		return []doctor.Finding{{Status: doctor.Wrong, Seen: fmt.Sprintf("s3://%s has nothing below %s, but %s", s.Bucket, root, elsewhere), Fix: "correct log_stores: prefix is what stands before AWSLogs/, organization_id the o-… behind it"}}
	}
	return []doctor.Finding{{Status: doctor.Wrong, Seen: fmt.Sprintf("s3://%s is empty", s.Bucket), Fix: "let the trail deliver there (its S3BucketName; the bucket's policy must admit cloudtrail.amazonaws.com), or correct log_stores.bucket; a new trail takes up to an hour"}}
}

// notExamined says that a log store that is asked by query was not asked.
func (p *patient) notExamined(s LogStore) doctor.Finding {
	target := "TARGET"
	switch {
	case len(p.cfg.Clusters) > 0:
		target = p.cfg.Clusters[0].Name
	case len(p.cfg.Targets) > 0:
		target = p.cfg.Targets[0].Account
	}
	return doctor.Finding{Status: doctor.Unknown, Seen: fmt.Sprintf("log store %s (%s) was not examined: neither whether it answers, nor what has arrived there, nor how it is kept", s.Name, s.Type), Fix: fmt.Sprintf("auditcanary run --target %s --scenario SCENARIO shows it, by a canary whose record must arrive there", target)}
}

func (p *patient) records(ctx context.Context, account string) (out []doctor.Finding) {
	s, fix := p.store()
	a := newArchive(s3Client(p.base, s.Region, s.RoleARN), s)
	silent := p.cfg.Inspection.SilentAfter.Duration
	since := p.clock().Add(p.caller.Ahead).Add(-silent)
	var latest []string
	for _, region := range p.target(account).Regions {
		newest, found, err := a.Newest(ctx, canary.Target{Provider: "aws", Account: account, Region: region}, since)
		switch {
		case err != nil:
			f := failed(err, fix)
			f.Region = region
			out = append(out, f)
		case !found:
			out = append(out, doctor.Finding{Region: region, Status: doctor.Wrong, Seen: fmt.Sprintf("no log file and no digest has arrived from here in the last %s (inspection.silent_after)", silent), Fix: "look whether a trail that delivers to s3://" + s.Bucket + " records this account and region (auditcanary sources), and whether organization_id and prefix in log_stores are the trail's; a new trail takes up to an hour"})
		default:
			latest = append(latest, region+" "+newest.Stored.Format(time.RFC3339))
		}
	}
	if len(latest) > 0 {
		out = append(ok("something has arrived lately: %s", strings.Join(latest, ", ")), out...)
	}
	return out
}

// once reads the settings of accounts for the three checks that are about them.
func (p *patient) once(read func(context.Context) (inventory.Report, error)) func(context.Context) (inventory.Report, error) {
	var once sync.Once
	var r inventory.Report
	var err error
	return func(ctx context.Context) (inventory.Report, error) {
		once.Do(func() { r, err = read(ctx) })
		return r, err
	}
}

// takeSources is the inventory of the targets, of what stands on the alert path, and of
// the archive; not of a thousand other accounts.
func (p *patient) takeSources(ctx context.Context) (inventory.Report, error) {
	if p.inspector == nil {
		return inventory.Report{}, errNoInspection
	}
	listed, err := p.cfg.inspected(ctx, p.inspector)
	if err != nil {
		listed = p.cfg.named()
	}
	wanted := slices.Clone(p.accounts)
	if len(p.accounts) == len(p.cfg.Targets) { // what an alert passes is all one path
		for _, place := range p.cfg.alertPath(SourcesOptions{}).Places() {
			wanted = append(wanted, place.Account)
		}
	}
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	var absent []string
	wanted = slices.DeleteFunc(wanted, func(id string) bool {
		if slices.ContainsFunc(listed, func(a aws.OrganizationAccount) bool { return a.ID == id }) {
			return false
		}
		absent = append(absent, id)
		return true
	})
	if err == nil && len(absent) > 0 {
		return inventory.Report{}, notListed(absent)
	}
	return Sources(ctx, p.cfg, run.NewState(), SourcesOptions{Accounts: wanted, Now: p.clock().Add(p.caller.Ahead)})
}

// notListed are accounts that the organisation does not have, or that are not active.
type notListed []string

func (n notListed) Error() string {
	return fmt.Sprintf("not among the active accounts to look into (inspection): %s", strings.Join(n, ", "))
}

// aspect of the inventory that a finding belongs to.
func aspect(f inventory.Finding) string {
	kind := string(f.Kind)
	begins := func(s string, with ...string) bool {
		return slices.ContainsFunc(with, func(w string) bool { return strings.HasPrefix(s, w) })
	}
	switch {
	case begins(kind, "bucket-", "key-", "replication-"):
		return "protection"
	case begins(kind, "source-", "lands-", "trail-", "delivery-", "no-global-", "digest"):
		return "trails"
	case f.Kind != inventory.NotRead:
		return "alert-path"
	case begins(f.Subject, "s3:", "kms:", "bucket ", "key "):
		return "protection"
	case begins(f.Subject, "cloudtrail:", "account ", "the organisation", "trail ") || f.Class != "":
		return "trails"
	}
	return "alert-path"
}

// weighed is what the inventory finds wrong with one aspect.
func (p *patient) weighed(of string) func(context.Context) []doctor.Finding {
	return func(ctx context.Context) (out []doctor.Finding) {
		if s, _ := p.store(); s.Type != archiveType && of != "alert-path" {
			return []doctor.Finding{p.notExamined(s)} // no trail delivers there, and no bucket holds it
		}
		r, err := p.sources(ctx)
		var absent notListed
		switch {
		case errors.As(err, &absent):
			return []doctor.Finding{{Status: doctor.Wrong, Seen: err.Error(), Fix: "correct targets and alert_path, or reactivate the accounts; inspection.accounts lists them where no organization does"}}
		case err != nil:
			f := failed(err, "inspection: {role: auditcanary/auditcanary-inspector}, and let the role be assumed in every account")
			f.Status = doctor.Unknown
			return []doctor.Finding{f}
		}
		for _, f := range r.Findings {
			if aspect(f) == of {
				out = append(out, translated(f))
			}
		}
		if out != nil {
			return out
		}
		switch of {
		case "trails":
			return p.trails(r)
		case "protection":
			return ok("the bucket of %s is versioned, locked as demanded, not public and loses nothing early; its key, if it has one, is usable", r.Archive)
		}
		if r.Judged == 0 {
			return skipped("nothing on the alert path is listed (alert_path)")
		}
		return ok("all %d things that alert_path lists are as it says", r.Judged)
	}
}

// trails says of which places the records arrive. A row that is not as it must be has a
// finding; should one not, it is told here all the same.
func (p *patient) trails(r inventory.Report) (out []doctor.Finding) {
	recorded := 0
	for _, row := range r.Rows {
		if row.Class != inventory.ManagementEvents && row.Class != inventory.SignIn {
			continue
		}
		switch row.Status {
		case canary.Pass:
			if row.Class == inventory.ManagementEvents {
				recorded++
			}
		case canary.NotRun:
		case canary.Fail:
			out = append(out, doctor.Finding{Account: row.Account, Region: row.Region, Status: doctor.Wrong, Seen: row.Class + ": " + row.Detail, Fix: "auditcanary sources tells more"})
		default:
			out = append(out, doctor.Finding{Account: row.Account, Region: row.Region, Status: doctor.Unknown, Seen: row.Class + ": " + row.Detail, Fix: "auditcanary sources tells more"})
		}
	}
	if out != nil {
		return out
	}
	if recorded == 0 {
		return []doctor.Finding{{Status: doctor.Unknown, Seen: "no place was looked into", Fix: "name accounts and regions (targets, inspection.accounts)"}}
	}
	return ok("all management events of %d places are recorded into %s, with signed digests", recorded, r.Archive)
}

func translated(f inventory.Finding) doctor.Finding {
	out := doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("%s: %s", f.Subject, f.Found), Fix: f.Next}
	if f.Status != canary.Fail {
		out.Status = doctor.Unknown
	}
	if f.Expected != "" {
		out.Seen += ", expected " + f.Expected
	}
	if len(f.Places) == 1 {
		out.Account, out.Region = f.Places[0].Account, f.Places[0].Region
		return out
	}
	var places []string
	for _, at := range f.Places[:min(len(f.Places), maxNamed)] {
		places = append(places, strings.Trim(at.Account+"/"+at.Region, "/"))
	}
	out.Seen += fmt.Sprintf(" (in %d places: %s", len(f.Places), strings.Join(places, ", "))
	if len(f.Places) > maxNamed {
		out.Seen += ", …"
	}
	out.Seen += ")"
	return out
}

// evidence checks the bucket that packets are kept in.
func (p *patient) evidence(ctx context.Context) (out []doctor.Finding) {
	e := p.cfg.Evidence
	if e.Bucket == "" {
		return skipped("no evidence.bucket is configured: packets are written to files")
	}
	cfg, err := p.cfg.evidenceAWS(ctx)
	if err != nil {
		return []doctor.Finding{failed(err, "correct evidence in the configuration")}
	}
	prefix := e.Prefix
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	store := aws.NewEvidenceStore(s3Client(cfg, e.Region, ""), e.Bucket, prefix)
	fix := fmt.Sprintf("allow %s s3:ListBucket on arn:aws:s3:::%s, s3:GetObject, s3:PutObject and s3:PutObjectRetention on arn:aws:s3:::%s/%s*, or correct evidence (bucket, region, role_arn)", cmp.Or(e.RoleARN, "these credentials"), e.Bucket, e.Bucket, prefix)
	if err := store.Probe(ctx); err != nil {
		f := failed(err, fix)
		if errors.Is(err, aws.ErrCareless) {
			f.Status, f.Fix = doctor.Wrong, "keep evidence in a bucket that honours If-Match (S3 does), and delete "+store.URL("doctor-probe")
		}
		out = append(out, f)
	}
	account := p.caller.Account
	if m := roleARN.FindStringSubmatch(e.RoleARN); m != nil {
		account = m[1]
	}
	out = append(out, p.evidenceLock(ctx, account))
	if slices.ContainsFunc(out, func(f doctor.Finding) bool { return f.Status != doctor.OK }) {
		return out
	}
	return ok("s3://%s/%s can be listed and written, and is under Object Lock; that packets may be retained (s3:PutObjectRetention) was not tried", e.Bucket, prefix)
}

func (p *patient) evidenceLock(ctx context.Context, account string) doctor.Finding {
	e := p.cfg.Evidence
	if p.inspector == nil {
		return doctor.Finding{Status: doctor.Unknown, Seen: "whether s3://" + e.Bucket + " is under Object Lock: " + errNoInspection.Error(), Fix: "inspection: {role: auditcanary/auditcanary-inspector}"}
	}
	lock, err := p.inspector.ObjectLock(ctx, account, e.Region, e.Bucket)
	switch {
	case err != nil:
		f := failed(err, letInspect)
		f.Status = doctor.Unknown
		return f
	case !lock.Enabled:
		return doctor.Finding{Status: doctor.Wrong, Seen: "s3://" + e.Bucket + " has no Object Lock", Fix: "deploy the evidence template (a bucket gets Object Lock when it is made, or by aws s3api put-object-lock-configuration once versioning is on)"}
	}
	return doctor.Finding{Status: doctor.OK}
}

// evidenceKey asks for the public key only: signing would tell more, and leave a signature.
func (p *patient) evidenceKey(ctx context.Context) []doctor.Finding {
	e := p.cfg.Evidence
	name := cmp.Or(e.KMSKey, e.GCPKMSKey)
	if name == "" {
		return skipped("packets are signed with the ledger's key: no evidence.kms_key is configured")
	}
	if e.KMSKey != "" && p.acts(strings.Split(e.KMSKey, ":")[4]) {
		return skipped("%s is in an account where canaries act: what the evidence role did there would look like a canary's", name)
	}
	signer, err := p.cfg.packetSigner(ctx)
	if err != nil {
		f := failed(err, "allow the evidence role kms:GetPublicKey and kms:Sign on it, or name another in evidence: aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY")
		if errors.Is(err, aws.ErrKeyKind) {
			f.Status = doctor.Wrong
			f.Fix = "make one of the right kind, and name it in evidence.kms_key: aws kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY"
		}
		return []doctor.Finding{f}
	}
	id, err := signer.KeyID()
	if err != nil {
		return []doctor.Finding{{Status: doctor.Unknown, Seen: err.Error(), Fix: "run it again"}}
	}
	return ok("%s is for signing, of the right kind (its id is %s); kms:Sign itself was not tried", name, id)
}
