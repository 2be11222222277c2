package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/doctor"
	"github.com/auditcanary/auditcanary/shared/ledger"
	"github.com/auditcanary/auditcanary/shared/slack"
	"github.com/auditcanary/auditcanary/shared/ticket"
)

// secrets never shows a value.
func (p *patient) secrets(context.Context) (out []doctor.Finding) {
	all := p.cfg.namedSecrets()
	for _, s := range all {
		if strings.TrimSpace(os.Getenv(s.env)) == "" {
			out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("%s: environment variable %s is empty", s.field, s.env), Fix: "export " + s.env + "=…, or, deployed, let it come from the platform's secret manager"})
		}
	}
	if out == nil {
		return ok("all %d environment variables that the configuration names are set", len(all))
	}
	return out
}

func (p *patient) exceptions(context.Context) []doctor.Finding {
	r, configured, err := p.cfg.RegisterInUse()
	switch {
	case err != nil:
		return []doctor.Finding{{Status: doctor.Wrong, Seen: err.Error(), Fix: "correct the register; auditcanary exceptions check FILE lists everything wrong with it"}}
	case !configured:
		return skipped("no register of exceptions is configured")
	}
	return ok("%s can be read: %d exceptions", r.Source, len(r.Exceptions))
}

// ledger checks the log of each cell.
func (p *patient) ledger(ctx context.Context) (out []doctor.Finding) {
	for _, c := range p.views() {
		for _, f := range c.ledgerFindings(ctx) {
			if c.cell != "" {
				f.Seen = "cell " + c.cell + ": " + f.Seen
			}
			out = append(out, f)
		}
	}
	return out
}

func (c *Config) ledgerFindings(ctx context.Context) (out []doctor.Finding) {
	where := "directory " + c.Ledger.Dir
	may := "let this user write there: chown, chmod u+rwx " + c.Ledger.Dir
	if s := c.Ledger.S3; s != nil {
		where = "s3://" + s.Bucket + "/" + s.Prefix
		may = fmt.Sprintf("allow the ledger's writer s3:GetObject and s3:PutObject on arn:aws:s3:::%s/%s*, and s3:ListBucket on the bucket; correct ledger.s3 (bucket, region) if it is another", s.Bucket, s.Prefix)
	}
	vkey, err := c.verifierKey()
	if err != nil {
		return []doctor.Finding{{Status: doctor.Wrong, Seen: err.Error(), Fix: fmt.Sprintf("put the ledger's key there; a new ledger gets one by: auditcanary ledger keygen %s FILE", c.Ledger.Origin)}}
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return []doctor.Finding{{Status: doctor.Wrong, Seen: "the verifier key cannot be read: " + err.Error(), Fix: "restore KEY_FILE.pub as keygen wrote it, or delete it: it is derived from the signing key"}}
	}
	store, err := c.ledgerStore(ctx)
	if err != nil {
		return []doctor.Finding{failed(err, may)}
	}
	size, began := int64(0), true
	log, err := ledger.Open(ctx, store, c.Ledger.Origin, nil, verifier)
	switch {
	case NotBegun(err):
		began = false
	case errors.Is(err, ledger.ErrUntrusted) || errors.Is(err, ledger.ErrBroken):
		return []doctor.Finding{{Status: doctor.Wrong, Seen: fmt.Sprintf("the ledger in %s is not of this key and origin: %v", where, err), Fix: "use the key that it was begun with (signing) and its origin (ledger.origin); never delete a ledger to make this go away: for a new one take another origin and place"}}
	case err != nil:
		return []doctor.Finding{failed(err, may)}
	default:
		cp, err := log.Checkpoint(ctx)
		if err != nil {
			return []doctor.Finding{failed(err, may)}
		}
		size = cp.Size
	}
	out = append(out, c.signerFinding(ctx, verifier))
	if c.Ledger.S3 == nil && !began {
		// A directory is made by the first append; looking must not make it.
		if _, err := os.Stat(c.path(c.Ledger.Dir)); errors.Is(err, os.ErrNotExist) {
			return append(out, skipped("%s is not there yet: the first run makes it", where)...)
		}
	}
	created, err := ledger.Probe(ctx, store, size)
	switch {
	case errors.Is(err, ledger.ErrCareless):
		fix := "keep the ledger in a store that honours If-Match and If-None-Match (S3 does, and a directory): two runs at once would lose entries here"
		if size == 0 {
			fix += "; delete doctor-probe from " + where
		}
		return append(out, doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("%s: %v", where, err), Fix: fix})
	case err != nil:
		return append(out, failed(err, may))
	case !began:
		return append(out, ok("%s can be written and honours If-Match; the ledger has not begun, so that creating only (If-None-Match) is tried after the first run", where)...)
	case !created:
		return append(out, ok("%s can be written and honours If-Match; the ledger is empty", where)...)
	}
	return append(out, ok("%s holds %d entries, can be written, and honours the conditions of writes (tried upon what never changes)", where, size)...)
}

// signerFinding says whether the signing key is here, and the one of the verifier.
func (c *Config) signerFinding(ctx context.Context, verifier note.Verifier) doctor.Finding {
	if c.Signing.KMSKey != "" {
		return c.kmsFinding(ctx, verifier)
	}
	skey, err := c.signingKey()
	if errors.Is(err, os.ErrNotExist) {
		return doctor.Finding{Status: doctor.Skipped, Seen: "only the verifier key is here: this machine can read the ledger, and append nothing"}
	}
	var signer note.Signer
	if err == nil {
		signer, err = note.NewSigner(skey)
	}
	switch {
	case err != nil:
		return doctor.Finding{Status: doctor.Wrong, Seen: "signing key: " + err.Error(), Fix: "give the key as keygen wrote it (PRIVATE+KEY+…), readable by its owner only"}
	case signer.Name() != verifier.Name() || signer.KeyHash() != verifier.KeyHash():
		return doctor.Finding{Status: doctor.Wrong, Seen: "the signing key is another than " + c.Signing.KeyFile + ".pub", Fix: "restore the two of one keygen"}
	}
	return doctor.Finding{Status: doctor.OK, Seen: fmt.Sprintf("the signing key is %s+%08x", signer.Name(), signer.KeyHash())}
}

// kmsFinding compares the key that AWS KMS has with the one that the ledger is trusted by.
// Nothing is signed: a signature over what is no checkpoint is made for nobody.
func (c *Config) kmsFinding(ctx context.Context, verifier note.Verifier) doctor.Finding {
	vkey, err := LedgerVerifierKey(ctx, c, c.Signing.KMSKey, verifier.Name())
	if err != nil {
		return failed(err, "allow the ledger's writer kms:GetPublicKey and kms:Sign on it, or correct signing (kms_key, role_arn): a ledger's key is ECC_NIST_EDWARDS25519 for SIGN_VERIFY")
	}
	there, err := note.NewVerifier(vkey)
	if err != nil {
		return doctor.Finding{Status: doctor.Unknown, Seen: fmt.Sprintf("%s: %v", c.Signing.KMSKey, err), Fix: "run it again"}
	}
	if there.KeyHash() != verifier.KeyHash() {
		return doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("%s is another key (%s+%08x) than signing.verifier (%s+%08x)", c.Signing.KMSKey, there.Name(), there.KeyHash(), verifier.Name(), verifier.KeyHash()), Fix: "name in signing.kms_key the key that the ledger was begun with; only a new ledger (another ledger.origin and place) takes another"}
	}
	return doctor.Finding{Status: doctor.OK, Seen: fmt.Sprintf("%s is the key of signing.verifier, %s+%08x; kms:Sign itself was not tried", c.Signing.KMSKey, there.Name(), there.KeyHash())}
}

// clusters are not looked into.
func (p *patient) clusters(context.Context) (out []doctor.Finding) {
	for _, cl := range p.cfg.Clusters {
		out = append(out, doctor.Finding{Status: doctor.Unknown, Seen: fmt.Sprintf("cluster %s was not examined: neither its API server, nor what its injector may do, nor its namespace", cl.Name), Fix: fmt.Sprintf("auditcanary run --target %s --scenario 'kubernetes/*' shows it, by doing canaries there", cl.Name)})
	}
	if out == nil {
		return skipped("no clusters are configured")
	}
	return out
}

func (p *patient) tickets(ctx context.Context) (out []doctor.Finding) {
	j := p.cfg.Tickets.Jira
	if j == nil {
		return skipped("no tickets.jira is configured")
	}
	if os.Getenv(j.TokenEnv) == "" || j.UserEnv != "" && os.Getenv(j.UserEnv) == "" {
		return skipped("not asked, because of secrets")
	}
	for _, err := range CheckDesk(ctx, p.cfg) {
		out = append(out, refusedOr(err, fmt.Sprintf("correct tickets.jira (url, project %s, issue_types, priorities, fields) or give the user the right to create there; auditcanary notify --check tells again", j.Project)))
	}
	if out == nil {
		return ok("project %s at %s would take tickets of every kind and severity; which transitions a ticket has is known only once there is one", j.Project, j.URL)
	}
	return out
}

// refusedOr is wrong where somebody refused, unknown else.
func refusedOr(err error, fix string) doctor.Finding {
	if errors.Is(err, ticket.ErrRefused) {
		return doctor.Finding{Status: doctor.Wrong, Seen: err.Error(), Fix: fix}
	}
	return doctor.Finding{Status: doctor.Unknown, Seen: err.Error(), Fix: "run it again; if it stays so: " + fix}
}

func (p *patient) chat(ctx context.Context) (out []doctor.Finding) {
	s := p.cfg.Chat.Slack
	if s == nil {
		return skipped("no chat.slack is configured")
	}
	if os.Getenv(s.TokenEnv) == "" {
		return skipped("not asked, because of secrets")
	}
	chat, err := slack.New(slack.Options{Token: strings.TrimSpace(os.Getenv(s.TokenEnv)), Channel: s.Channel, APIURL: s.URL, Clock: p.clock, Sleep: sleep})
	if err != nil {
		return []doctor.Finding{{Status: doctor.Wrong, Seen: err.Error(), Fix: "correct chat.slack in the configuration"}}
	}
	who, errs := chat.Check(ctx)
	for _, err := range errs {
		out = append(out, refusedOr(err, "give the app the scopes chat:write and channels:history (groups:history in a private channel), install it anew, and /invite it to "+s.Channel))
	}
	if out == nil {
		return ok("%s of %s can post to %s and read what it posted (scopes %s)", who.Bot, who.Team, s.Channel, strings.Join(who.Scopes, " "))
	}
	return out
}

// trigger checks who may ask for a run, as far as that is asked of somebody else.
func (p *patient) trigger(ctx context.Context) (out []doctor.Finding) {
	t := p.cfg.Trigger
	if t == nil {
		return skipped("nobody may ask for a run: no trigger is configured")
	}
	for i, caller := range t.Callers {
		if key := os.Getenv(caller.KeyEnv); key != "" && len(key) < minKey {
			out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("trigger.callers.%d: the key in %s has less than %d characters", i, caller.KeyEnv, minKey), Fix: "openssl rand -hex 32"})
		}
	}
	if s := t.Slack; s != nil && len(s.Groups) > 0 && os.Getenv(s.TokenEnv) != "" {
		groups, err := slack.NewGroups(slack.Options{Token: strings.TrimSpace(os.Getenv(s.TokenEnv)), APIURL: s.APIURL, Clock: p.clock, Sleep: sleep})
		if err != nil {
			out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: err.Error(), Fix: "correct trigger.slack in the configuration"})
		} else {
			_, errs := groups.Check(ctx)
			for _, err := range errs {
				out = append(out, refusedOr(err, "add the scope usergroups:read to the app and install it anew"))
			}
		}
	}
	if out != nil {
		return out
	}
	var without []string
	for _, s := range p.cfg.namedSecrets() {
		if strings.HasPrefix(s.field, "trigger.") && os.Getenv(s.env) == "" {
			without = append(without, s.env)
		}
	}
	if without != nil {
		return skipped("not checked, because of secrets (%s)", strings.Join(without, ", "))
	}
	return ok("the secrets by which commands and callers are checked are there; whether they are Slack's shows with its first command")
}

// through is the role by which an alert's place is asked.
func (a Alert) through() Through {
	switch {
	case a.SQS != nil:
		return a.SQS.Through
	case a.CloudWatchAlarm != nil:
		return a.CloudWatchAlarm.Through
	case a.GuardDuty != nil:
		return a.GuardDuty.Through
	case a.SecurityHub != nil:
		return a.SecurityHub.Through
	case a.Inbox != nil:
		return a.Inbox.Through
	}
	return Through{}
}

// account of an alert's place, as far as the configuration says; "" else.
func (a Alert) account() string {
	if m := roleARN.FindStringSubmatch(a.through().RoleARN); m != nil {
		return m[1]
	}
	switch {
	case a.CloudWatchAlarm != nil:
		return a.CloudWatchAlarm.Account
	case a.GuardDuty != nil:
		return a.GuardDuty.Account
	case a.SecurityHub != nil:
		return a.SecurityHub.Account
	}
	return ""
}

// alerts asks each place where alerts arrive, without taking anything away.
func (p *patient) alerts(ctx context.Context) (out []doctor.Finding) {
	read := 0
	for _, c := range p.views() {
		for _, a := range c.Alerts {
			if p.acts(a.account()) {
				out = append(out, skipped("%s arrives in account %s, where canaries act: what its role did there would look like a canary's. auditcanary alerts reads it, and writes its calls down", a.Name, a.account())...)
				continue
			}
			source, err := openAlert(p.base, a, p.clock)
			if err != nil {
				out = append(out, doctor.Finding{Status: doctor.Wrong, Seen: fmt.Sprintf("%s: %v", a.Name, err), Fix: "correct it under alerts"})
				continue
			}
			if queue, isQueue := source.(*aws.AlertQueue); isQueue {
				err = queue.Check(ctx)
			} else {
				_, err = source.Listen(ctx, p.clock())
			}
			if err != nil {
				out = append(out, failed(fmt.Errorf("%s: %w", a.Name, err), "deploy the place that alerts."+a.Name+" names, let its role read it, or correct it in the configuration"))
				continue
			}
			read++
		}
	}
	switch {
	case read > 0:
		return append(ok("%d places where alerts arrive can be read", read), out...)
	case out == nil:
		return skipped("no alerts are configured")
	}
	return out
}
