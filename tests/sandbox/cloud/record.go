package cloud

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

// eventVersion of all records, the current one. (The minor number is compared
// as a number: 1.11 is newer than 1.9.)
const eventVersion = "1.11"

// The listener stands for a TLS one with these parameters.
const (
	tlsVersion  = "TLSv1.3"
	cipherSuite = "TLS_AES_128_GCM_SHA256"
)

// emit writes the call's records: one in the caller's account and, when the
// thing touched belongs to another account, a copy there. Denials and errors
// are recorded in the caller's account only.
func (c *Cloud) emit(k *call, rep reply, err *apiError) {
	if k.op.data && !c.selectsData(k) {
		return
	}
	rec := k.record(rep, err)
	if k.op.data {
		k.asDataEvent(rec)
	}
	account := k.Principal.Account
	if rep.owner == "" || rep.owner == account || err != nil {
		c.deliver(account, k.Region, rec)
		return
	}
	shared := newUUID()
	rec["sharedEventID"] = shared
	c.deliver(account, k.Region, rec)
	copied := k.record(rep, nil)
	copied["sharedEventID"] = shared
	copied["recipientAccountId"] = rep.owner
	copied["userIdentity"] = map[string]any{ // the owner does not learn more of a foreign caller
		"type": "AWSAccount", "principalId": k.Principal.PrincipalID, "accountId": account,
	}
	c.deliver(rep.owner, k.Region, copied)
}

// record is the CloudTrail record of a call.
func (k *call) record(rep reply, err *apiError) Record {
	event := k.op.event
	if event == "" {
		event = k.Operation
	}
	rec := Record{
		"eventVersion":       eventVersion,
		"userIdentity":       userIdentity(k.Principal),
		"eventTime":          k.Time.Format(time.RFC3339),
		"eventSource":        k.svc.source,
		"eventName":          event,
		"awsRegion":          k.Region,
		"sourceIPAddress":    sourceIP(k.HTTP),
		"userAgent":          cut(k.HTTP.UserAgent()),
		"requestParameters":  nil,
		"responseElements":   nil,
		"requestID":          k.RequestID,
		"eventID":            newUUID(),
		"readOnly":           k.op.readOnly,
		"eventType":          "AwsApiCall",
		"managementEvent":    true,
		"recipientAccountId": k.Principal.Account,
		"eventCategory":      "Management",
		"tlsDetails": map[string]any{
			"tlsVersion": tlsVersion, "cipherSuite": cipherSuite, "clientProvidedHostHeader": k.HTTP.Host,
		},
	}
	if k.Service == "s3" {
		rec["userAgent"] = "[" + rec["userAgent"].(string) + "]"
	}
	if err == nil || !err.denied || k.svc.deniedKeepsParams {
		if k.op.params != nil {
			rec["requestParameters"] = k.op.params(k)
		} else if len(k.Params) > 0 {
			rec["requestParameters"] = lowerNames(k.Params)
		}
	}
	if k.svc.apiVersion != "" && (err == nil || !err.denied) {
		rec["apiVersion"] = k.svc.apiVersion
	}
	if k.Service == "s3" && rep.additional == nil && err != nil {
		rep.additional = k.s3Additional(int64(len(k.body)), int64(len(k.s3Error(err))))
	}
	if rep.additional != nil {
		rec["additionalEventData"] = rep.additional
	}
	if rep.resources != nil {
		var list []any
		for _, r := range rep.resources {
			list = append(list, map[string]any{"accountId": r.Account, "type": r.Type, "ARN": r.ARN})
		}
		rec["resources"] = list
	}
	if err != nil {
		rec["errorCode"] = recordedCode(k.Service, err)
		rec["errorMessage"] = cut(err.message)
		return rec
	}
	if rep.elements != nil {
		rec["responseElements"] = rep.elements
	}
	return rec
}

// recordedCode is the error's code as CloudTrail writes it.
func recordedCode(service string, err *apiError) string {
	switch {
	case service == "ec2" && err.status >= 500:
		return "Server." + err.code
	case service == "ec2":
		return "Client." + err.code
	case err.denied:
		return "AccessDenied"
	case service == "iam" && !strings.HasSuffix(err.code, "Exception"):
		switch err.code { // IAM's records name the exception, its replies the code
		case "NoSuchEntity", "EntityAlreadyExists", "DeleteConflict", "LimitExceeded", "InvalidInput":
			return err.code + "Exception"
		case "MalformedPolicyDocument":
			return "MalformedPolicyDocumentException"
		}
	}
	return err.code
}

func userIdentity(p Principal) map[string]any {
	id := map[string]any{
		"type": p.Type, "principalId": p.PrincipalID, "arn": p.ARN, "accountId": p.Account, "accessKeyId": p.AccessKeyID,
	}
	if p.UserName != "" {
		id["userName"] = p.UserName
	}
	if p.Type == "AssumedRole" {
		ctx := map[string]any{
			"sessionIssuer": map[string]any{
				"type": "Role", "principalId": p.RoleID, "arn": p.RoleARN, "accountId": p.Account, "userName": p.RoleName,
			},
			"attributes": map[string]any{
				"creationDate": p.SessionCreated.UTC().Format(time.RFC3339), "mfaAuthenticated": "false",
			},
		}
		if p.SourceIdentity != "" {
			ctx["sourceIdentity"] = p.SourceIdentity
		}
		id["sessionContext"] = ctx
	}
	return id
}

// cut bounds a string to CloudTrail's 1 KB, at a character.
func cut(s string) string {
	const limit = 1024
	if len(s) <= limit {
		return s
	}
	n := limit
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// lowerNames gives parameters the names CloudTrail writes them under, and the
// numbers of Query requests their type.
func lowerNames(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, x := range v {
			if s, ok := x.(string); ok {
				x = typed(name, s)
			}
			out[lowerFirst(name)] = lowerNames(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = lowerNames(v[i])
		}
		return out
	}
	return v
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}

// typed gives a value of the Query protocol the type it has in a record.
func typed(name, s string) any {
	switch name {
	case "DurationSeconds", "MaxSessionDuration", "MaxItems", "MaxResults", "FromPort", "ToPort":
		var n json.Number = json.Number(s)
		if i, err := n.Int64(); err == nil {
			return i
		}
	case "DryRun":
		return s == "true"
	}
	return s
}

// deliver hands a record to the event history and, through the faults, to the Sink.
func (c *Cloud) deliver(account, region string, rec Record) {
	rec = plain(rec)
	c.mu.Lock()
	faults, logging := c.faults, c.world.trailLogs(account)
	c.mu.Unlock()

	var actions []fault.Action
	if faults != nil {
		actions = faults.Fire(fault.AtRecord, rec)
	}
	kept, sent, copies, extra := map[string]any(rec), map[string]any(rec), 1, time.Duration(0)
	for _, a := range actions {
		switch {
		case a.Do.Drop:
			copies = 0
		case a.Do.Duplicate > 0 && copies > 0:
			copies += a.Do.Duplicate
		case a.Do.Delay > 0:
			extra += a.Do.Delay
		case a.Do.Edits():
			sent = a.Do.Edit(sent)
		}
		if a.Hop == fault.HopEmitted {
			if a.Do.Drop {
				kept = nil
			} else if kept != nil {
				kept = a.Do.Edit(kept)
			}
		}
	}
	if kept != nil && rec["eventCategory"] != "Data" {
		c.mu.Lock()
		c.history.add(c.opts.Clock.Now(), account, region, kept)
		c.mu.Unlock()
	}
	c.hear(account, region, kept)
	if !logging {
		return // the organisation trail is stopped: nothing is delivered, now or later
	}
	for range copies {
		if extra > 0 {
			c.opts.Sink.EmitAfter(account, region, sent, extra)
		} else {
			c.opts.Sink.Emit(account, region, sent)
		}
	}
}

// plain turns a record into the types JSON has, so that faults and readers see
// exactly what a file will hold.
func plain(rec Record) Record {
	b, err := json.Marshal(rec)
	if err != nil { // only maps, lists, strings, numbers and booleans go into a record
		panic("record is no JSON: " + err.Error())
	}
	var out Record
	_ = json.Unmarshal(b, &out)
	return out
}
