package report

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/trail"
)

// oscalVersion is the edition of NIST's schema that the document is of.
const oscalVersion = "1.1.3"

// The parts of an OSCAL assessment result that we fill in. Lists that are empty are
// left out: the schema has no empty lists.
type (
	oscalDocument struct {
		Results oscalAssessment `json:"assessment-results"`
	}
	oscalAssessment struct {
		UUID       string           `json:"uuid"`
		Metadata   oscalMetadata    `json:"metadata"`
		ImportAP   oscalHref        `json:"import-ap"`
		Results    []oscalResult    `json:"results"`
		BackMatter *oscalBackMatter `json:"back-matter,omitempty"`
	}
	oscalMetadata struct {
		Title        string       `json:"title"`
		LastModified string       `json:"last-modified"`
		Version      string       `json:"version"`
		OSCALVersion string       `json:"oscal-version"`
		Props        []oscalProp  `json:"props,omitempty"`
		Parties      []oscalParty `json:"parties,omitempty"`
	}
	oscalParty struct {
		UUID string `json:"uuid"`
		Type string `json:"type"`
		Name string `json:"name"`
	}
	oscalHref struct {
		Href    string `json:"href"`
		Remarks string `json:"remarks,omitempty"`
	}
	oscalProp struct {
		Name  string `json:"name"`
		NS    string `json:"ns"`
		Value string `json:"value"`
	}
	oscalResult struct {
		UUID             string             `json:"uuid"`
		Title            string             `json:"title"`
		Description      string             `json:"description"`
		Start            string             `json:"start"`
		End              string             `json:"end,omitempty"`
		Props            []oscalProp        `json:"props,omitempty"`
		LocalDefinitions oscalDefinitions   `json:"local-definitions"`
		ReviewedControls oscalReviewed      `json:"reviewed-controls"`
		Observations     []oscalObservation `json:"observations,omitempty"`
		Risks            []oscalRisk        `json:"risks,omitempty"`
		Findings         []oscalFinding     `json:"findings,omitempty"`
		Remarks          string             `json:"remarks,omitempty"`
	}
	oscalDefinitions struct {
		Components []oscalComponent `json:"components,omitempty"`
		Assets     oscalAssets      `json:"assessment-assets"`
	}
	oscalComponent struct {
		UUID        string      `json:"uuid"`
		Type        string      `json:"type"`
		Title       string      `json:"title"`
		Description string      `json:"description"`
		Status      oscalStatus `json:"status"`
	}
	oscalAssets struct {
		Components []oscalComponent `json:"components"`
		Platforms  []oscalPlatform  `json:"assessment-platforms"`
	}
	oscalPlatform struct {
		UUID  string      `json:"uuid"`
		Title string      `json:"title"`
		Uses  []oscalUses `json:"uses-components,omitempty"`
	}
	oscalUses struct {
		UUID string `json:"component-uuid"`
	}
	oscalStatus struct {
		State   string `json:"state"`
		Reason  string `json:"reason,omitempty"`
		Remarks string `json:"remarks,omitempty"`
	}
	oscalReviewed struct {
		Description string           `json:"description"`
		Selections  []oscalSelection `json:"control-selections"`
	}
	oscalSelection struct {
		Description string           `json:"description"`
		Include     []oscalControlID `json:"include-controls"`
	}
	oscalControlID struct {
		ID string `json:"control-id"`
	}
	oscalObservation struct {
		UUID        string          `json:"uuid"`
		Title       string          `json:"title"`
		Description string          `json:"description"`
		Props       []oscalProp     `json:"props,omitempty"`
		Methods     []string        `json:"methods"`
		Types       []string        `json:"types"`
		Origins     []oscalOrigin   `json:"origins"`
		Subjects    []oscalSubject  `json:"subjects,omitempty"`
		Evidence    []oscalEvidence `json:"relevant-evidence,omitempty"`
		Collected   string          `json:"collected"`
	}
	oscalOrigin struct {
		Actors []oscalActor `json:"actors"`
	}
	oscalActor struct {
		Type string `json:"type"`
		UUID string `json:"actor-uuid"`
	}
	oscalSubject struct {
		UUID string `json:"subject-uuid"`
		Type string `json:"type"`
	}
	oscalEvidence struct {
		Href        string      `json:"href,omitempty"`
		Description string      `json:"description"`
		Props       []oscalProp `json:"props,omitempty"`
	}
	oscalRisk struct {
		UUID         string             `json:"uuid"`
		Title        string             `json:"title"`
		Description  string             `json:"description"`
		Statement    string             `json:"statement"`
		Props        []oscalProp        `json:"props,omitempty"`
		Status       string             `json:"status"`
		Origins      []oscalOrigin      `json:"origins"`
		Mitigating   []oscalMitigating  `json:"mitigating-factors,omitempty"`
		Deadline     string             `json:"deadline,omitempty"`
		Remediations []oscalResponse    `json:"remediations,omitempty"`
		Observations []oscalObservedRef `json:"related-observations"`
	}
	oscalMitigating struct {
		UUID        string `json:"uuid"`
		Description string `json:"description"`
	}
	oscalResponse struct {
		UUID        string `json:"uuid"`
		Lifecycle   string `json:"lifecycle"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	oscalFinding struct {
		UUID         string             `json:"uuid"`
		Title        string             `json:"title"`
		Description  string             `json:"description"`
		Props        []oscalProp        `json:"props,omitempty"`
		Origins      []oscalOrigin      `json:"origins"`
		Target       oscalTarget        `json:"target"`
		Observations []oscalObservedRef `json:"related-observations,omitempty"`
		Risks        []oscalRiskRef     `json:"related-risks,omitempty"`
	}
	oscalTarget struct {
		Type        string      `json:"type"`
		ID          string      `json:"target-id"`
		Description string      `json:"description"`
		Status      oscalStatus `json:"status"`
	}
	oscalObservedRef struct {
		UUID string `json:"observation-uuid"`
	}
	oscalRiskRef struct {
		UUID string `json:"risk-uuid"`
	}
	oscalBackMatter struct {
		Resources []oscalResource `json:"resources"`
	}
	oscalResource struct {
		UUID        string       `json:"uuid"`
		Title       string       `json:"title"`
		Description string       `json:"description"`
		Props       []oscalProp  `json:"props,omitempty"`
		Base64      *oscalBase64 `json:"base64,omitempty"`
	}
	oscalBase64 struct {
		Filename  string `json:"filename"`
		MediaType string `json:"media-type"`
		Value     string `json:"value"`
	}
)

// WriteOSCAL writes OSCAL assessment results. Each canary is an observation; each
// control a finding, satisfied only where it is proven; each check of the latest
// canaries that failed or was late a risk (one that is excepted with an approved
// deviation), and so is each forged marker and each
// broken chain of digests. The identifiers are named by what they are of: the same
// ledger gives the same ones, and a risk keeps its own as long as the same check
// fails at the same target.
func WriteOSCAL(w io.Writer, r Report) error {
	o := oscal{r: r, tool: uuid("tool", r.origin())}
	return writeJSON(w, oscalDocument{o.assessment()})
}

type oscal struct {
	r    Report
	tool string // uuid of this program as an actor
}

const (
	oscalNS = "https://github.com/auditcanary/auditcanary/ns/oscal"
	// maxText and maxLine bound what anybody's text takes of a document; the ledger has it uncut.
	maxText = 4096
	maxLine = 256
)

func (o oscal) assessment() oscalAssessment {
	r := o.r
	root := "(the ledger has not begun)"
	if r.Ledger != nil {
		root = r.Ledger.Root
	}
	a := oscalAssessment{
		UUID: uuid("assessment", r.origin(), root, r.Period.Run, r.Period.From.String(), r.Period.To.String()),
		Metadata: oscalMetadata{
			Title: "Privileged activity logging: assessment results", LastModified: stamp(r.At, r.At),
			Version: stamp(r.At, r.At), OSCALVersion: oscalVersion,
			Props: o.props("auditcanary-version", r.Version, "ledger-origin", r.origin(), "ledger-root", root, "controls-mapping", r.Facts.ControlsVersion, "config-sha256", r.Facts.ConfigHash),
		},
		ImportAP: oscalHref{"#" + o.plan(), "the scenario catalogue is the plan; its resource gives the hash"},
		Results:  []oscalResult{o.result()},
		BackMatter: &oscalBackMatter{[]oscalResource{{
			UUID: o.plan(), Title: "Scenario catalogue",
			Description: "The scenarios that were to be run, pinned by the hash over their ids and contents.",
			Props:       o.props("catalogue-sha256", r.Facts.CatalogueHash),
		}}},
	}
	if name := line(r.Facts.Organization, maxLine); name != "" {
		a.Metadata.Parties = []oscalParty{{uuid("party", name), "organization", name}}
	}
	if l := r.Ledger; l != nil {
		head := oscalResource{
			UUID: o.checkpoint(), Title: "Signed checkpoint of the ledger",
			Description: "The head of the append-only log that every observation is folded from; it verifies with the log's public key.",
			Props:       o.props("size", fmt.Sprint(l.Size), "root", l.Root),
		}
		if l.Signed != "" {
			head.Base64 = &oscalBase64{"checkpoint.txt", "text/plain", base64.StdEncoding.EncodeToString([]byte(l.Signed))}
		}
		a.BackMatter.Resources = append(a.BackMatter.Resources, head)
	}
	return a
}

func (o oscal) plan() string       { return uuid("catalogue", o.r.Facts.CatalogueHash) }
func (o oscal) checkpoint() string { return uuid("checkpoint", o.r.origin(), o.r.Ledger.Root) }
func (o oscal) observation(id string) string {
	return uuid("observation", o.r.origin(), id)
}
func (o oscal) component(account, region string) string {
	return uuid("place", o.r.origin(), account, region)
}
func (o oscal) origins() []oscalOrigin {
	return []oscalOrigin{{[]oscalActor{{"tool", o.tool}}}}
}

// props makes properties of names and values; what has no value is left out.
func (o oscal) props(pairs ...string) (out []oscalProp) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if v := line(pairs[i+1], maxLine); v != "" {
			out = append(out, oscalProp{pairs[i], oscalNS, v})
		}
	}
	return out
}

func (o oscal) result() oscalResult {
	r := o.r
	start, end := r.At, r.At
	if len(r.Runs) > 0 {
		start = r.Runs[0].At
	}
	res := oscalResult{
		UUID: uuid("result", r.origin(), r.Period.Run, r.Period.From.String(), r.Period.To.String()), Title: "Canaries of privileged activity",
		Description: fmt.Sprintf("%d canaries: %d proven, %d failed, %d late, %d inconclusive, %d not run, %d excepted. A canary is a small real administrative action whose record was looked for in the central log store and compared with what was done.",
			r.Tally.Canaries, r.Tally.Proven, r.Tally.Failed, r.Tally.Late, r.Tally.Inconclusive, r.Tally.NotRun, r.Tally.Excepted),
		Start: stamp(start, r.At), End: stamp(end, r.At),
		LocalDefinitions: oscalDefinitions{Components: o.components(), Assets: oscalAssets{
			Components: []oscalComponent{{o.tool, "software", "auditcanary", "auditcanary " + or(line(r.Version, maxLine), "(unknown version)"), oscalStatus{State: "operational"}}},
			Platforms:  []oscalPlatform{{uuid("platform", r.origin()), "auditcanary", []oscalUses{{o.tool}}}},
		}},
		ReviewedControls: oscalReviewed{
			Description: "Controls of the mapping " + or(line(r.Facts.ControlsVersion, maxLine), "(none)") + ". What no canary shows of a control is said in its finding.",
			Selections:  []oscalSelection{{Description: "Every control that a check supports, tested or not; the findings say which.", Include: o.controls()}},
		},
		Remarks: "Partly tested, inconclusive and untested controls are not satisfied, for the reason \"other\": nothing shows that they are.",
	}
	for _, c := range r.Canaries {
		res.Observations = append(res.Observations, o.observe(c))
		if c.Latest {
			res.Risks = append(res.Risks, o.risks(c)...)
		}
	}
	for _, f := range r.Findings {
		ob, risk := o.forged(f)
		res.Observations, res.Risks = append(res.Observations, ob), append(res.Risks, risk)
	}
	for _, c := range r.Protection.broken() {
		ob, risk := o.broken(c)
		res.Observations, res.Risks = append(res.Observations, ob), append(res.Risks, risk)
	}
	latest := r.Latest()
	for _, c := range r.Controls {
		res.Findings = append(res.Findings, o.finding(c, latest))
	}
	return res
}

// components are the places where canaries acted, and those where they were to.
func (o oscal) components() (out []oscalComponent) {
	seen := map[string]bool{}
	add := func(account, region string) {
		id := o.component(account, region)
		if seen[id] {
			return
		}
		seen[id] = true
		title := line("account "+account+" in "+region, maxLine)
		out = append(out, oscalComponent{id, "service", title, "One account of a cloud provider in one region: where privileged actions are done, and recorded.", oscalStatus{State: "operational"}})
	}
	for _, t := range o.r.Facts.Targets {
		for _, region := range t.Regions {
			add(t.Account, region)
		}
	}
	for _, c := range o.r.Canaries {
		add(c.Account, c.Region)
	}
	return out
}

// controls names the controls by OSCAL tokens; a report of none names that.
func (o oscal) controls() []oscalControlID {
	out := []oscalControlID{}
	for _, c := range o.r.Controls {
		if id := (oscalControlID{oscalControl(c.ID)}); !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		out = append(out, oscalControlID{"none"})
	}
	return out
}

var (
	nistControl = regexp.MustCompile(`^nist-800-53:r5/([A-Z]{2}-[0-9]+)(?:\(([0-9]+)\))?$`)
	noToken     = regexp.MustCompile(`[^\p{L}\p{N}._-]`)
)

// oscalControl is a control's id as an OSCAL token: NIST's own where it is one of
// NIST's catalogue ("ac-6.9"), else ours without the characters a token has not.
func oscalControl(id string) string {
	if m := nistControl.FindStringSubmatch(id); m != nil {
		token := strings.ToLower(m[1])
		if m[2] != "" {
			token += "." + m[2]
		}
		return token
	}
	return "c_" + noToken.ReplaceAllString(line(id, maxLine), "_")
}

func (o oscal) observe(c Canary) oscalObservation {
	ob := oscalObservation{
		UUID: o.observation(c.ID), Title: line(or(c.Title, c.Scenario), maxLine),
		Description: line(string(c.Status)+" at "+c.place()+": "+c.why(), maxText),
		Methods:     []string{"TEST"}, Types: []string{"control-objective"}, Origins: o.origins(),
		Subjects:  []oscalSubject{{o.component(c.Account, c.Region), "component"}},
		Collected: stamp(c.At, o.r.At),
		Props:     o.props("canary", c.ID, "run", c.Run, "scenario", c.Scenario, "scenario-sha256", c.ScenarioHash, "category", c.Category, "kind", string(c.Kind), "status", string(c.Status)),
	}
	if ob.Title == "" {
		ob.Title = "canary"
	}
	if !c.Latest {
		ob.Types = []string{"historic"}
	}
	for _, k := range c.Checks {
		ob.Props = append(ob.Props, o.props("check-"+oscalName(string(k.Check)), string(k.Status))...)
	}
	for _, st := range c.Steps {
		ob.Evidence = append(ob.Evidence, o.evidence(st)...)
	}
	if o.r.Ledger != nil {
		ob.Evidence = append(ob.Evidence, oscalEvidence{Href: "#" + o.checkpoint(), Description: "intents, receipts, records and verdicts of this canary in the ledger"})
	}
	return ob
}

// oscalName is a property's name: a token.
func oscalName(s string) string { return noToken.ReplaceAllString(or(line(s, maxLine), "none"), "_") }

// evidence of a step: its receipt, and each record with where it stands.
func (o oscal) evidence(st Step) (out []oscalEvidence) {
	if r := st.Receipt; r != nil {
		out = append(out, oscalEvidence{
			Description: line(fmt.Sprintf("receipt of %s (step %s): %s %s, called at %s", st.Operation, st.ID, r.Outcome.Result, r.Outcome.Code, stamp(r.Started, o.r.At)), maxText),
			Props:       o.props("request-ids", strings.Join(r.RequestIDs, " ")),
		})
	}
	for _, rec := range st.Records {
		e := oscalEvidence{
			Description: line(fmt.Sprintf("record %s of %s in log store %s, bytes %d to %d of %s, arrived at %s", rec.EventID, st.Operation, rec.At.Store,
				rec.At.Offset, rec.At.Offset+rec.At.Length, or(standsAt(rec), "an object without a key"), stamp(rec.Stored, o.r.At)), maxText),
			Props: o.props("event-id", rec.EventID, "request-id", rec.RequestID, "object-sha256", rec.At.ObjectSHA256),
		}
		e.Href = objectURI(rec.At)
		out = append(out, e)
	}
	return out
}

// objectURI is where an object stands as a URI; "" where it makes none, which the
// description then says in words.
func objectURI(at canary.Location) string {
	if at.Bucket == "" || at.Key == "" || len(at.Bucket)+len(at.Key) > maxText {
		return ""
	}
	u := url.URL{Scheme: "s3", Host: at.Bucket, Path: "/" + at.Key}
	if at.VersionID != "" {
		u.RawQuery = url.Values{"versionId": {at.VersionID}}.Encode()
	}
	s := u.String()
	if back, err := url.Parse(s); err != nil || back.Host != at.Bucket || line(s, len(s)) != s || strings.ContainsAny(at.Bucket, " :@[]%\"<>\\^`{|}") {
		return ""
	}
	return s
}

func (o oscal) risks(c Canary) (out []oscalRisk) {
	for _, k := range c.Checks {
		excepted := k.Accepted != nil && k.Accepted.Follows == ""
		if k.Status != canary.Fail && k.Status != canary.Late && !excepted {
			continue
		}
		out = append(out, o.deviation(k, oscalRisk{
			UUID:        o.risk(c, k.Check),
			Title:       or(line(string(k.Check)+" "+string(k.Status)+": "+c.Scenario+" at "+c.place(), maxLine), "risk"),
			Description: or(line(k.Detail, maxText), "no detail"),
			Statement:   o.statement(k.Check), Status: "open", Origins: o.origins(),
			Props:        o.props("check", string(k.Check), "hop", string(k.Hop), "category", c.Category),
			Observations: []oscalObservedRef{{o.observation(c.ID)}},
		}))
	}
	return out
}

// deviation is a risk as the exception leaves it that covers the check, if one does.
func (o oscal) deviation(k Check, risk oscalRisk) oscalRisk {
	by := k.Accepted
	if by == nil {
		return risk
	}
	risk.Status = "deviation-approved"
	risk.Props = append(risk.Props, o.props("exception", by.ID, "accepted-by", by.Approver, "owner", by.Owner, "was", string(by.Was))...)
	i := slices.IndexFunc(o.r.Exceptions, func(x Exception) bool { return x.ID == by.ID })
	if i < 0 {
		return risk
	}
	x := o.r.Exceptions[i]
	if !x.Expires.IsZero() {
		risk.Deadline = stamp(x.Expires.AddDate(0, 0, 1), o.r.At)
	}
	for _, c := range x.Compensating {
		risk.Mitigating = append(risk.Mitigating, oscalMitigating{uuid("mitigation", risk.UUID, x.ID, c), or(line(c, maxText), "not said")})
	}
	risk.Remediations = []oscalResponse{
		{uuid("acceptance", risk.UUID, x.ID), "completed", line("accepted as "+x.ID, maxLine), or(line(x.Reason, maxText), "not said")},
		{uuid("remediation", risk.UUID, x.ID), "planned", line("plan to do without "+x.ID, maxLine), or(line(x.Remediation, maxText), "not said")},
	}
	return risk
}

// risk is named by what failed where, never by the run.
func (o oscal) risk(c Canary, check canary.Check) string {
	return uuid("risk", o.r.origin(), c.Scenario, c.Account, c.Region, string(check))
}

// statement says what follows if a check does not hold.
func (o oscal) statement(check canary.Check) string {
	for _, m := range o.r.Facts.Meanings {
		if m.Check == check {
			return "Not shown: " + or(line(m.Shows, maxText), string(check))
		}
	}
	return "A privileged action is not logged or not protected as it has to be."
}

func (o oscal) forged(f Finding) (oscalObservation, oscalRisk) {
	id := uuid("forged", o.r.origin(), f.Run, f.EventID, f.RequestID, f.At.Key, fmt.Sprint(f.At.Offset))
	said := line(fmt.Sprintf("record %s of request %s carries this program's marks, and no receipt of ours has that request: %s by %s", f.EventID, f.RequestID, f.Operation, f.Actor), maxText)
	ob := oscalObservation{
		UUID: id, Title: "A record imitates a canary", Description: said, Methods: []string{"TEST"}, Types: []string{"finding"},
		Origins: o.origins(), Collected: stamp(f.Stored, o.r.At), Props: o.props("event-id", f.EventID, "request-id", f.RequestID),
		Evidence: []oscalEvidence{{Href: objectURI(f.At), Description: line(fmt.Sprintf("log store %s, bytes %d to %d of %s", f.At.Store, f.At.Offset, f.At.Offset+f.At.Length, or(f.At.Key, "an object without a key")), maxText)}},
	}
	return ob, oscalRisk{
		UUID: uuid("risk", id), Title: "A record imitates a canary", Description: said,
		Statement: "Somebody else acted under this program's name, or a run's receipts were lost.",
		Status:    "investigating", Origins: o.origins(), Observations: []oscalObservedRef{{id}},
	}
}

// broken is a chain of digests that is: of every log file it signs for, not of a canary.
func (o oscal) broken(c Chain) (oscalObservation, oscalRisk) {
	id := uuid("chain", o.r.origin(), c.Account, c.Region, c.Organization, c.Trail, c.HomeRegion, fmt.Sprint(c.Backfill))
	title := line("broken: "+c.name()+" at "+c.Account+"/"+c.Region, maxLine)
	said := line(fmt.Sprintf("%d findings; first %s", c.found(trail.Fail), c.said()), maxText)
	ob := oscalObservation{
		UUID: id, Title: title, Description: said, Methods: []string{"TEST"}, Types: []string{"finding"}, Origins: o.origins(), Collected: stamp(c.Validated, o.r.At),
		Props: o.props("account", c.Account, "region", c.Region, "organization", c.Organization, "trail", c.Trail, "digests-valid", fmt.Sprint(c.Counts.Digests), "log-files-valid", fmt.Sprint(c.Counts.Logs)),
	}
	return ob, oscalRisk{
		UUID: uuid("risk", id), Title: title, Description: said,
		Statement: "What was logged there may have been changed, removed or not written, and nobody could tell it from what is left.",
		Status:    "open", Origins: o.origins(), Observations: []oscalObservedRef{{id}},
	}
}

// finding of a control: satisfied only if proven.
func (o oscal) finding(c Control, latest []Canary) oscalFinding {
	status := map[Outcome]oscalStatus{
		Proven: {State: "satisfied", Reason: "pass"}, Failed: {State: "not-satisfied", Reason: "fail"},
	}[c.Outcome]
	if status.State == "" {
		status = oscalStatus{State: "not-satisfied", Reason: "other"}
	}
	status.Remarks = or(line(string(c.Outcome), maxLine), "unknown")
	title := or(line(c.Framework+" "+c.Clause+" "+c.Title, maxLine), "control")
	f := oscalFinding{
		UUID: uuid("finding", o.r.origin(), c.ID), Title: title, Origins: o.origins(),
		Description: line(fmt.Sprintf("%s: %d canaries speak for it. Not shown by any: %s", c.Outcome, c.Canaries, c.Limits), maxText),
		Props:       o.props("control", c.ID, "outcome", string(c.Outcome), "confirmed", fmt.Sprint(c.Confirmed), "source", c.Source),
		Target:      oscalTarget{"objective-id", oscalControl(c.ID) + "_obj", o.supports(c), status},
	}
	for _, k := range latest {
		if !k.speaks(c) {
			continue
		}
		f.Observations = append(f.Observations, oscalObservedRef{o.observation(k.ID)})
		for _, s := range c.Checks {
			a := k.answer(s.Check)
			bad := a.Status == canary.Fail || a.Status == canary.Late || a.Accepted != nil && a.Accepted.Follows == ""
			if k.counts(c, s) && bad && counting(a, s.Fields) != canary.Pass {
				f.Risks = append(f.Risks, oscalRiskRef{o.risk(k, s.Check)})
			}
		}
	}
	return f
}

// supports says which checks support a control, and what of it.
func (o oscal) supports(c Control) string {
	var out []string
	for _, k := range c.Checks {
		out = append(out, fmt.Sprintf("%s shows that %s, not %s", k.Check, k.Shows, k.DoesNotShow))
	}
	return or(line(strings.Join(out, "; "), maxText), "no check supports it")
}
