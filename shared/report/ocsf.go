package report

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// ocsfVersion is the edition of the schema that every line is stamped with.
const ocsfVersion = "1.5.0"

// object is a JSON object; encoding sorts its keys.
type object = map[string]any

// WriteOCSF writes one OCSF event a line (NDJSON): for each record found, the
// activity it tells of, in the class of its kind; then for the latest canary of
// each scenario and target a Compliance Finding with its verdict.
func WriteOCSF(w io.Writer, r Report) error {
	for _, c := range r.Canaries {
		for _, st := range c.Steps {
			for _, rec := range st.Records {
				if rec.Event == nil {
					continue // what cannot be read tells of no activity; the finding says that it was there
				}
				if err := encodeJSON(w, r.ocsfActivity(c, rec), ""); err != nil {
					return fmt.Errorf("write OCSF: record %s: %w", rec.EventID, err)
				}
			}
		}
	}
	for _, c := range r.Latest() {
		if err := encodeJSON(w, r.ocsfFinding(c), ""); err != nil {
			return fmt.Errorf("write OCSF: finding of canary %s: %w", c.ID, err)
		}
	}
	return nil
}

// activityClass is the OCSF class of an operation's record.
type activityClass struct {
	class, activity int
	// fill adds what the class requires, from the event; false: the record does not
	// say it (a refused call has no parameters), and API Activity must do.
	fill func(e event.Event, o object) bool
}

const (
	apiActivity       = 6003
	accountChange     = 3001
	entityManagement  = 3004
	userAccess        = 3005
	complianceFinding = 2003
)

// classes are the operations that OCSF has a class of their own for; all others
// are API Activity.
func classes() map[string]activityClass {
	return map[string]activityClass{
		"iam.amazonaws.com/CreateUser":       {accountChange, 1, ofUser("userName")},
		"iam.amazonaws.com/DeleteUser":       {accountChange, 6, ofUser("userName")},
		"iam.amazonaws.com/AttachUserPolicy": {userAccess, 1, privilege("userName", "policyArn")},
		"iam.amazonaws.com/DetachUserPolicy": {userAccess, 2, privilege("userName", "policyArn")},
		"iam.amazonaws.com/PutUserPolicy":    {userAccess, 1, privilege("userName", "policyName")},
		"iam.amazonaws.com/DeleteUserPolicy": {userAccess, 2, privilege("userName", "policyName")},
		"iam.amazonaws.com/AttachRolePolicy": {userAccess, 1, privilege("roleName", "policyArn")},
		"iam.amazonaws.com/DetachRolePolicy": {userAccess, 2, privilege("roleName", "policyArn")},
		"iam.amazonaws.com/PutRolePolicy":    {userAccess, 1, privilege("roleName", "policyName")},
		"iam.amazonaws.com/DeleteRolePolicy": {userAccess, 2, privilege("roleName", "policyName")},

		"iam.amazonaws.com/CreateRole":                    {entityManagement, 1, entity("Role", "roleName")},
		"iam.amazonaws.com/UpdateAssumeRolePolicy":        {entityManagement, 3, entity("Role", "roleName")},
		"iam.amazonaws.com/DeleteRole":                    {entityManagement, 4, entity("Role", "roleName")},
		"iam.amazonaws.com/CreatePolicy":                  {entityManagement, 1, entity("Policy", "policyName")},
		"iam.amazonaws.com/DeletePolicy":                  {entityManagement, 4, entity("Policy", "policyArn")},
		"iam.amazonaws.com/CreateInstanceProfile":         {entityManagement, 1, entity("Instance profile", "instanceProfileName")},
		"iam.amazonaws.com/DeleteInstanceProfile":         {entityManagement, 4, entity("Instance profile", "instanceProfileName")},
		"iam.amazonaws.com/CreateOpenIDConnectProvider":   {entityManagement, 1, entity("Identity provider", "url")},
		"iam.amazonaws.com/DeleteOpenIDConnectProvider":   {entityManagement, 4, entity("Identity provider", "openIDConnectProviderArn")},
		"iam.amazonaws.com/PutRolePermissionsBoundary":    {entityManagement, 3, entity("Role", "roleName")},
		"iam.amazonaws.com/DeleteRolePermissionsBoundary": {entityManagement, 3, entity("Role", "roleName")},
	}
}

func param(e event.Event, name string) string {
	s, _ := e.API.Request[name].(string)
	return line(s, maxText)
}

func ofUser(name string) func(event.Event, object) bool {
	return func(e event.Event, o object) bool {
		u := param(e, name)
		o["user"] = object{"name": u, "uid": u}
		return u != ""
	}
}

func privilege(who, what string) func(event.Event, object) bool {
	return func(e event.Event, o object) bool {
		u, p := param(e, who), param(e, what)
		o["user"], o["privileges"] = object{"name": u, "uid": u}, []string{p}
		return u != "" && p != ""
	}
}

func entity(kind, name string) func(event.Event, object) bool {
	return func(e event.Event, o object) bool {
		n := param(e, name)
		o["entity"] = object{"name": n, "uid": n, "type": kind}
		return n != ""
	}
}

// ocsfActivity is the activity that a record tells of.
func (r Report) ocsfActivity(c Canary, rec Record) object {
	e := *rec.Event
	o := object{
		"metadata":     r.ocsfMetadata(e.Metadata.UID, c),
		"time":         millis(e.Time, c.At),
		"severity_id":  1, // Informational
		"cloud":        ocsfCloud(or(line(e.Cloud.Provider, maxLine), "AWS"), e.Cloud.Account, e.Cloud.Region),
		"actor":        ocsfActor(e.Actor),
		"api":          ocsfAPI(e.API),
		"src_endpoint": ocsfEndpoint(e.SrcEndpoint),
		"status_id":    1, // Success
		"unmapped":     object{"auditcanary": object{"canary": line(c.ID, maxLine), "scenario": line(c.Scenario, maxLine), "object": line(standsAt(rec), maxText)}},
	}
	md := o["metadata"].(object)
	set(md, "log_name", e.Metadata.LogName)
	set(md, "log_version", e.Metadata.LogVersion)
	set(md, "event_code", e.Metadata.EventCode)
	if t := rec.Stored; !t.IsZero() {
		md["logged_time"] = millis(t, c.At)
	}
	if e.API.Error != "" {
		o["status_id"] = 2 // Failure
		set(o, "status_code", e.API.Error)
		set(o, "status_detail", e.API.ErrorMessage)
	}
	if a := line(e.HTTPRequest.UserAgent, maxText); a != "" {
		o["http_request"] = object{"user_agent": a}
	}
	if rec.Raw != "" {
		o["raw_data"], o["raw_data_size"] = rec.Raw, len(rec.Raw)
	}
	class, activity := apiActivity, verbOf(e.API)
	if k, ok := classes()[e.API.Service+"/"+e.API.Operation]; ok {
		more := object{}
		if k.fill(e, more) {
			class, activity = k.class, k.activity
			for name, v := range more {
				o[name] = v
			}
		}
	}
	if class == apiActivity {
		if res := ocsfResources(e.Resources); len(res) > 0 {
			o["resources"] = res
		}
	}
	return classified(o, class, activity)
}

// classified stamps an event with its class; activities are named by the schema.
func classified(o object, class, activity int) object {
	o["class_uid"], o["category_uid"], o["activity_id"], o["type_uid"] = class, class/1000, activity, class*100+activity
	return o
}

// verbOf is what API Activity calls an operation.
func verbOf(a event.API) int {
	begins := func(verbs ...string) bool {
		return slices.ContainsFunc(verbs, func(v string) bool { return strings.HasPrefix(a.Operation, v) })
	}
	switch {
	case a.ReadOnly != nil && *a.ReadOnly, begins("Get", "List", "Describe", "Head", "Lookup"):
		return 2 // Read
	case begins("Create", "Run", "Allocate", "Import"):
		return 1 // Create
	case begins("Delete", "Terminate", "Release"):
		return 4 // Delete
	case a.Operation == "":
		return 0 // Unknown
	}
	return 3 // Update
}

func (r Report) ocsfMetadata(uid string, c Canary) object {
	md := object{
		"version": ocsfVersion, "profiles": []string{"cloud"},
		"product": object{"name": "auditcanary", "vendor_name": "auditcanary", "version": or(line(r.Version, maxLine), "(unknown)")},
	}
	set(md, "uid", uid)
	set(md, "correlation_uid", c.ID)
	set(md, "tenant_uid", c.Account)
	return md
}

// set puts text into an object, if there is any.
func set(o object, name, s string) {
	if s = line(s, maxText); s != "" {
		o[name] = s
	}
}

func ocsfCloud(provider, account, region string) object {
	o := object{"provider": provider}
	set(o, "region", region)
	if account = line(account, maxLine); account != "" {
		o["account"] = object{"uid": account, "type_id": 10} // AWS Account
	}
	return o
}

func ocsfActor(a event.Actor) object {
	user := object{"name": or(line(a.UID, maxText), "(not stated)")}
	set(user, "uid", a.UID)
	set(user, "uid_alt", a.UIDAlt)
	set(user, "type", a.Type)
	set(user, "credential_uid", a.CredentialUID)
	if account := line(a.Account, maxLine); account != "" {
		user["account"] = object{"uid": account}
	}
	o := object{"user": user}
	set(o, "invoked_by", a.InvokedBy)
	session := object{}
	set(session, "issuer", a.Session.Issuer)
	set(session, "uid", a.Session.Name)
	set(session, "uid_alt", a.Session.SourceIdentity)
	if a.Session.MFA != nil {
		session["is_mfa"] = *a.Session.MFA
	}
	if len(session) > 0 {
		o["session"] = session
	}
	return o
}

func ocsfAPI(a event.API) object {
	o := object{"operation": or(line(a.Operation, maxText), "(not stated)"), "service": object{"name": or(line(a.Service, maxText), "(not stated)")}}
	if id := line(a.RequestUID, maxText); id != "" {
		request := object{"uid": id}
		if a.Request != nil {
			request["data"] = a.Request
		}
		o["request"] = request
	}
	if a.Error != "" || a.Response != nil {
		response := object{}
		set(response, "error", a.Error)
		set(response, "error_message", a.ErrorMessage)
		if a.Response != nil {
			response["data"] = a.Response
		}
		o["response"] = response
	}
	return o
}

func ocsfEndpoint(e event.Endpoint) object {
	if addr, err := netip.ParseAddr(e.IP); err == nil && addr.Zone() == "" {
		return object{"ip": addr.String()}
	}
	return object{"name": or(line(or(e.Domain, e.IP), maxLine), "(not stated)")}
}

func ocsfResources(rs []event.Resource) (out []object) {
	for _, res := range rs {
		o := object{}
		set(o, "uid", res.UID)
		set(o, "type", res.Type)
		if _, named := o["uid"]; named {
			out = append(out, o)
		}
	}
	return out
}

// ocsfFinding is the verdict of a canary. Its uid is of the question that was
// asked, so that a later verdict updates it.
func (r Report) ocsfFinding(c Canary) object {
	uid := uuid("verdict", r.origin(), c.Scenario, c.Account, c.Region)
	status, said, severity, compliance := 1, "New", 4, 3 // High, Fail
	activity := 1                                        // Create
	switch c.Status {
	case canary.Pass:
		status, said, severity, compliance, activity = 4, "Resolved", 1, 1, 3
	case canary.Fail:
	case canary.Late:
		severity, compliance = 3, 3
	case canary.Inconclusive:
		severity, compliance = 3, 2 // Warning
	case canary.Excepted:
		status, said, severity, compliance = 3, "Suppressed", 1, 2
	default:
		severity, compliance = 1, 0 // Unknown
	}
	var checks []object
	for _, k := range c.Checks {
		one := object{"uid": or(line(string(k.Check), maxLine), "(none)"), "status": or(line(string(k.Status), maxLine), "(none)"), "status_id": ocsfCheckStatus(k.Status)}
		set(one, "desc", k.Detail)
		checks = append(checks, one)
	}
	var standards, requirements []string
	for _, ctl := range r.Controls {
		if c.speaks(ctl) {
			requirements = append(requirements, or(line(ctl.ID, maxLine), "(none)"))
			if f := or(line(ctl.Framework, maxLine), "(none)"); !slices.Contains(standards, f) {
				standards = append(standards, f)
			}
		}
	}
	comp := object{"status_id": compliance, "checks": checks, "control": or(line(c.Scenario, maxLine), "(none)")}
	set(comp, "status", string(c.Status))
	set(comp, "status_detail", c.why())
	set(comp, "category", c.CategoryTitle)
	if len(standards) > 0 {
		comp["standards"], comp["requirements"] = standards, requirements
	}
	o := object{
		"metadata":    r.ocsfMetadata(uid, c),
		"time":        millis(r.verdictTime(c), r.At),
		"severity_id": severity, "status_id": status, "status": said,
		"cloud":      ocsfCloud(or(strings.ToUpper(line(c.Provider, maxLine)), "AWS"), c.Account, c.Region),
		"compliance": comp,
		"finding_info": object{
			"uid": uid, "title": or(line(c.Title, maxLine), "(no title)"), "desc": or(line(c.why(), maxText), "(none)"),
			"created_time": millis(c.At, r.At), "types": []string{"privileged activity logging"},
		},
		"resources": []object{{"uid": or(line(c.Account, maxLine), "(none)"), "type": "account", "region": or(line(c.Region, maxLine), "(none)")}},
	}
	set(o, "message", c.Scenario+" at "+c.place()+": "+string(c.Status))
	for _, k := range c.Checks {
		if k.Accepted != nil && k.Accepted.Follows == "" {
			set(o, "comment", k.Detail)
			break
		}
	}
	if evs := ocsfEvidences(c); len(evs) > 0 {
		o["evidences"] = evs
	}
	if c.Status == canary.Inconclusive || c.Status == canary.Fail || c.Status == canary.Late {
		o["remediation"] = object{"desc": or(line("look where the evidence points: "+c.why(), maxText), "(none)")}
	}
	return classified(o, complianceFinding, activity)
}

func ocsfCheckStatus(s canary.Status) int {
	switch s {
	case canary.Pass:
		return 1
	case canary.Fail, canary.Late:
		return 3
	case canary.Inconclusive, canary.Excepted:
		return 2
	}
	return 0
}

// verdictTime is when the verdict that counts was given, by the store's clock;
// without one, when the canary was planned.
func (r Report) verdictTime(c Canary) time.Time {
	if n := len(c.History); n > 0 && !c.History[n-1].AsOf.IsZero() {
		return c.History[n-1].AsOf
	}
	return c.At
}

// ocsfEvidences are the records with where they stand, and what else was found out.
func ocsfEvidences(c Canary) (out []object) {
	for _, st := range c.Steps {
		for _, rec := range st.Records {
			out = append(out, object{"name": "record", "uid": or(line(rec.EventID, maxText), "(none)"), "data": object{
				"step": line(st.ID, maxLine), "request_id": line(rec.RequestID, maxText), "object": line(standsAt(rec), maxText),
				"offset": rec.At.Offset, "length": rec.At.Length, "object_sha256": line(rec.At.ObjectSHA256, maxLine),
			}})
		}
	}
	for _, k := range c.Checks {
		for _, e := range k.Evidence {
			out = append(out, object{"name": or(line(string(e.Source), maxLine), "(none)"), "data": object{
				"check": line(string(k.Check), maxLine), "found": line(e.Found, maxText), "object": line(e.Object, maxText), "event_id": line(e.EventID, maxText),
			}})
		}
	}
	return out
}

// millis is a time as OCSF has it; what is no time of this age is the fallback.
func millis(t, fallback time.Time) int64 {
	if t.Year() < 1970 || t.Year() > 2999 {
		t = fallback
	}
	return t.UnixMilli()
}
