package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// The classes of sources that a provider's settings tell of. Of the others
// somebody else must: their rows say so.
const (
	ManagementEvents = "cloud-management-events"
	DataEvents       = "cloud-data-events"
	NetworkActivity  = "cloud-network-activity-events"
	SignIn           = "console-sign-in"
)

// Classes lists them.
func Classes() []string { return []string{ManagementEvents, DataEvents, NetworkActivity, SignIn} }

// Row is one class of sources in one account and region.
type Row struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Class   string `json:"class"`
	// Status: pass, fail, inconclusive, or not-run where nothing is expected or
	// nothing the provider tells could answer.
	Status canary.Status `json:"status"`
	Owner  string        `json:"owner,omitempty"`
	// RecordedBy are the trails that record it into the archive.
	RecordedBy []string `json:"recorded_by"`
	// LandsIn is the bucket, with the prefix, in which it lands.
	LandsIn string `json:"lands_in,omitempty"`
	// Delivered is when the latest log file was, Digest the latest digest, by the
	// provider's clock AsOf.
	AsOf      time.Time `json:"as_of,omitzero"`
	Delivered time.Time `json:"latest_delivery,omitzero"`
	Digest    time.Time `json:"latest_digest,omitzero"`
	Findings  []Kind    `json:"findings"`
	// Detail in a sentence; never empty unless the status is pass.
	Detail string `json:"detail,omitempty"`
}

// recorder is a trail seen in a place, with what it does there.
type recorder struct {
	Trail
	status  *Status
	central bool
	reach   reach
	known   bool // its selectors were read
}

// recorders of a place: each trail that is seen there.
func (j *judge) recorders(p Place) (all []recorder) {
	for _, r := range j.recordings[p] {
		trail, known := j.trails[r.Trail]
		if !known {
			continue
		}
		t := recorder{Trail: trail, status: r.Status}
		t.central = t.Bucket == j.in.Archive.Bucket && strings.Trim(t.Prefix, "/") == strings.Trim(j.in.Archive.Prefix, "/")
		if t.Selectors != nil {
			t.known, t.reach = true, t.Selectors.management()
		}
		all = append(all, t)
	}
	return all
}

// sources makes the rows of a place.
func (j *judge) sources(p Place) []Row {
	if !j.listed[p] {
		var rows []Row
		for _, class := range Classes() {
			r := j.row(p, class)
			r.Status, r.Detail, r.Findings = canary.Inconclusive, "the trails seen here could not be listed", []Kind{NotRead}
			rows = append(rows, r)
		}
		return rows
	}
	all := j.recorders(p)
	return []Row{
		j.management(p, all),
		j.selected(p, DataEvents, "Data", all),
		j.selected(p, NetworkActivity, "NetworkActivity", all),
		j.signIn(p, all),
	}
}

func (j *judge) row(p Place, class string) Row {
	return Row{Account: p.Account, Region: p.Region, Class: class, Owner: j.source(class).Owner, RecordedBy: []string{}, Findings: []Kind{}, Status: canary.Pass}
}

// by notes what records a row.
func (r *Row) by(t recorder) {
	r.RecordedBy = append(r.RecordedBy, t.ARN)
	r.LandsIn = t.lands()
	if s := t.status; s != nil {
		r.AsOf = s.AsOf
		if s.Delivered.After(r.Delivered) {
			r.Delivered = s.Delivered
		}
		if s.Digest.After(r.Digest) {
			r.Digest = s.Digest
		}
	}
}

func (t Trail) lands() string {
	if t.Bucket == "" {
		return "nowhere"
	}
	return "s3://" + t.Bucket + "/" + strings.Trim(t.Prefix, "/")
}

func (a Archive) lands() string { return Trail{Bucket: a.Bucket, Prefix: a.Prefix}.lands() }

func (t Trail) subject() string { return "trail " + t.ARN }

// management weighs what records the management events of a place. Together the
// trails that deliver to the archive must record all; if some that work do so, what
// is wrong with the others does not matter.
func (j *judge) management(p Place, all []recorder) Row {
	row := j.row(p, ManagementEvents)
	var working, validated, wanted reach
	var candidates []recorder
	unsure := false
	for _, t := range all {
		switch {
		case !t.known:
			unsure = unsure || t.central
		case t.reach.none():
		case !t.central:
			candidates = append(candidates, t)
		case t.unread():
			unsure = true
			row.by(t)
		default:
			candidates, wanted = append(candidates, t), wanted.or(t.reach)
			row.by(t)
			if len(j.flow(t)) == 0 {
				working = working.or(t.reach)
				if len(j.digests(t)) == 0 {
					validated = validated.or(t.reach)
				}
			}
		}
	}
	if working.complete() && validated.complete() {
		return row
	}
	var found []Finding
	switch {
	case working.complete():
		for _, t := range candidates {
			if t.central {
				found = append(found, j.digests(t)...)
			}
		}
	case wanted.none():
		found = j.astray(candidates)
	default:
		for _, t := range candidates {
			if t.central {
				found = append(found, append(j.flow(t), j.digests(t)...)...)
			}
		}
		if !wanted.complete() {
			found = append(found, Finding{Kind: SourceNarrowed, Subject: subjects(candidates), Found: wanted.leaves(), Expected: "all management events, read and write, of all sources"})
		}
	}
	if unsure { // what was not read may well be what suffices
		row.Status, row.Detail, row.Findings = canary.Inconclusive, "a trail that delivers to the archive could not be read", []Kind{NotRead}
		return row
	}
	for _, f := range found {
		f.Class = ManagementEvents
		j.add(p, f)
		row.fail(f)
	}
	return row
}

func (r *Row) fail(f Finding) {
	r.Status = canary.Fail
	if r.Detail != "" {
		r.Detail += "; "
	}
	r.Detail += f.Found
	r.Findings = append(r.Findings, f.Kind)
}

// subjects of the trails that deliver to the archive.
func subjects(ts []recorder) string {
	var names []string
	for _, t := range ts {
		if t.central {
			names = append(names, t.ARN)
		}
	}
	return "trail " + strings.Join(names, ", ")
}

// astray is what is said where nothing delivers to the archive.
func (j *judge) astray(elsewhere []recorder) []Finding {
	for _, t := range elsewhere {
		if t.status == nil || t.status.Logging {
			return []Finding{{Kind: LandsElsewhere, Subject: t.subject(), Found: "it delivers to " + t.lands(), Expected: j.in.Archive.lands()}}
		}
	}
	return []Finding{{Kind: SourceMissing, Subject: "management events", Found: "no trail records them into the archive", Expected: "a trail that delivers to " + j.in.Archive.lands()}}
}

// flow is what keeps a trail's records from arriving in a place.
func (j *judge) flow(t recorder) []Finding {
	s := t.status
	if !s.Logging {
		found := "it records nothing"
		if !s.Stopped.IsZero() {
			found += ", stopped " + stamp(s.Stopped)
		}
		return []Finding{{Kind: TrailStopped, Subject: t.subject(), Found: found, Expected: "logging"}}
	}
	var out []Finding
	if s.DeliveryError != "" {
		out = append(out, Finding{Kind: DeliveryFails, Subject: t.subject(), Found: "the latest delivery failed: " + s.DeliveryError})
	}
	if limit := j.in.SilentAfter; s.overdue(s.Delivered, limit) && s.overdue(s.Digest, limit) {
		out = append(out, Finding{Kind: TrailSilent, Subject: t.subject(), Found: fmt.Sprintf("nothing was delivered from here for more than %s", short(limit)), Expected: "a log file or a digest"})
	}
	return out
}

// digests is what is wrong with the seals of a trail in a place.
func (j *judge) digests(t recorder) []Finding {
	s := t.status
	switch {
	case !t.Validation:
		return []Finding{{Kind: TrailNotValidated, Subject: t.subject(), Found: "log file validation is off", Expected: "a signed digest each hour"}}
	case s.DigestError != "":
		return []Finding{{Kind: DigestFails, Subject: t.subject(), Found: "the latest digest could not be delivered: " + s.DigestError}}
	case s.Logging && s.overdue(s.Digest, j.in.DigestAfter) && !s.overdue(s.Delivered, j.in.SilentAfter):
		return []Finding{{Kind: DigestsSilent, Subject: t.subject(), Found: fmt.Sprintf("no digest was delivered from here for more than %s", short(j.in.DigestAfter)), Expected: "a signed digest each hour"}}
	}
	return nil
}

// overdue reports whether the latest of something is older than limit. A trail
// that was started less than that ago owes nothing yet.
func (s *Status) overdue(latest time.Time, limit time.Duration) bool {
	since := latest
	if s.Started.After(since) {
		since = s.Started
	}
	return s.AsOf.Sub(since) > limit
}

// selected weighs a class that is recorded only where a selector asks for it. As
// with management events, what the trails that work record together counts.
func (j *judge) selected(p Place, class, category string, all []recorder) Row {
	row, required := j.row(p, class), j.source(class).Required
	wanted, working := map[string]reach{}, map[string]reach{}
	var asked []recorder
	unsure, extent := false, true // whether all was read of what they are to record
	for _, t := range all {
		if !t.central {
			continue
		}
		if !t.known {
			unsure = true
			continue
		}
		kinds, known := t.Selectors.kinds(category)
		if len(kinds) == 0 {
			continue
		}
		if t.unread() {
			unsure = true
			continue
		}
		row.by(t)
		extent, asked = extent && known, append(asked, t)
		for kind, r := range kinds {
			wanted[kind] = wanted[kind].or(r)
			if len(j.flow(t)) == 0 {
				working[kind] = working[kind].or(r)
			}
		}
	}
	var narrowed []string // what each kind lacks though all trails worked
	arrives := len(wanted) > 0
	for _, kind := range slices.Sorted(maps.Keys(wanted)) {
		arrives = arrives && working[kind].complete()
		if !wanted[kind].complete() {
			narrowed = append(narrowed, kind+": "+wanted[kind].leaves())
		}
	}
	if arrives {
		row.Detail = "of " + strings.Join(slices.Sorted(maps.Keys(wanted)), ", ")
		return row
	}
	var found []Finding
	for _, t := range asked {
		kinds, _ := t.Selectors.kinds(category)
		for kind := range kinds { // what another records, and delivers, is not missed
			if !working[kind].complete() {
				found = append(found, j.flow(t)...)
				break
			}
		}
	}
	switch {
	case len(narrowed) > 0 && !extent:
		found = append(found, Finding{
			Kind: NotRead, Status: canary.Inconclusive, Subject: subjects(asked), Found: "of which resources the selectors record them was not read", Expected: "of all, as sources in the configuration requires",
		})
	case len(narrowed) > 0:
		found = append(found, Finding{
			Kind: SourceNarrowed, Subject: subjects(asked), Found: strings.Join(narrowed, "; "), Expected: "all of them, as sources in the configuration requires",
			Next: "let the selectors record all of them; if a part is meant, do not require the class in sources (configuration); look for who changed them",
		})
	case len(wanted) == 0:
		found = append(found, Finding{
			Kind: SourceMissing, Subject: class, Found: "no selector of a trail that delivers to the archive asks for them", Expected: "recorded, as sources in the configuration requires",
		})
	}
	switch {
	case unsure: // what was not read may well be what suffices
		row.Status, row.Detail, row.Findings = canary.Inconclusive, "a trail that delivers to the archive could not be read", []Kind{NotRead}
		return row
	case !required && len(wanted) == 0:
		row.Status, row.Detail = canary.NotRun, "not recorded, and not required"
		return row
	case !required:
		row.Status, row.Detail = canary.NotRun, "not required; "+found[0].Found
		return row
	}
	for _, f := range found {
		f.Class = class
		j.add(p, f)
		row.fail(f)
	}
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.Status == "" }) {
		row.Status = canary.Inconclusive
	}
	return row
}

// signInSource is what a sign-in's record names as its source.
const signInSource = "signin.amazonaws.com"

// signIn: sign-ins are management events without a region; what records those
// records them, if it includes the events of global services, leaves their source
// in, and delivers.
func (j *judge) signIn(p Place, all []recorder) Row {
	row := j.row(p, SignIn)
	var without []recorder
	var found []Finding // why nothing arrives from trails that should record them
	unsure := false
	for _, t := range all {
		switch {
		case !t.central:
		case !t.known:
			unsure = true
		case t.reach.write.none():
		case !t.reach.write.has(signInSource):
			found = append(found, Finding{Kind: SourceNarrowed, Found: "sign-ins are left out, or some: " + t.reach.leaves()})
		case t.unread():
			unsure = true
		case len(j.flow(t)) > 0:
			found = append(found, j.flow(t)...)
		case t.GlobalEvents:
			row.by(t)
		default:
			without = append(without, t)
		}
	}
	switch {
	case len(row.RecordedBy) > 0:
	case p.Region != j.in.Home:
		row.Status, row.Detail = canary.NotRun, "recorded in "+j.in.Home+" and where the sign-in endpoint is"
	case unsure:
		row.Status, row.Detail, row.Findings = canary.Inconclusive, "a trail that delivers to the archive could not be read", []Kind{NotRead}
	case len(without) > 0:
		f := Finding{Kind: NoGlobalEvents, Class: SignIn, Subject: subjects(without), Found: "it leaves out the events of services without a region: sign-ins, IAM", Expected: "included"}
		j.add(p, f)
		row.fail(f)
	case len(found) > 0: // the management events have the same findings, with what to do
		for _, f := range found {
			row.fail(f)
		}
	default: // the management events' own finding says why
		row.Status, row.Detail, row.Findings = canary.Fail, "nothing records sign-ins into the archive", []Kind{SourceMissing}
	}
	return row
}

// unread: what it does was not told.
func (t recorder) unread() bool { return t.status == nil || t.status.AsOf.IsZero() }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// short is a duration without the zeros.
func short(d time.Duration) string {
	if d%(24*time.Hour) == 0 && d > 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}
