package aws

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

const inspectorRole = "auditcanary/auditcanary-inspector"

func inspect(t *testing.T, w *wire) *Inspector {
	t.Helper()
	i, err := NewInspector(InspectorOptions{Base: w.config(), Role: inspectorRole, ExternalID: "outside"})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAnInspectorAssumesItsRoleOnceAnAccount(t *testing.T) {
	w := newWire(t)
	i := inspect(t, w)
	for _, region := range []string{"us-east-1", "eu-west-1", "us-east-1"} {
		cfg, err := i.open(t.Context(), testAccount, region)
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Region != region || cfg.AppID != "inspector.auditcanary" {
			t.Errorf("region %q, application %q", cfg.Region, cfg.AppID)
		}
		if creds, err := cfg.Credentials.Retrieve(t.Context()); err != nil || creds.AccessKeyID != sessionKey {
			t.Errorf("credentials %q, %v", creds.AccessKeyID, err)
		}
	}
	calls := w.of("sts:AssumeRole")
	if len(calls) != 1 {
		t.Fatalf("assumed %d times, want once", len(calls))
	}
	for field, want := range map[string]string{
		"RoleArn": "arn:aws:iam::" + testAccount + ":role/" + inspectorRole, "RoleSessionName": "auditcanary", "SourceIdentity": "auditcanary-inspector", "ExternalId": "outside",
	} {
		if got := calls[0].form.Get(field); got != want {
			t.Errorf("%s %q, want %q", field, got, want)
		}
	}
}

func TestTheOrganisationsAccountsAreListedToTheEnd(t *testing.T) {
	w := newWire(t)
	w.answer["organizations:ListAccounts"] = func(rw http.ResponseWriter, c *called) {
		if !strings.Contains(string(c.body), "more") {
			jsonReply(map[string]any{"NextToken": "more", "Accounts": []any{
				map[string]any{"Id": "444455556666", "Name": "closed", "State": "SUSPENDED"},
				map[string]any{"Id": "333333333333", "Name": "going", "State": "PENDING_CLOSURE"},
			}})(rw, c)
			return
		}
		jsonReply(map[string]any{"Accounts": []any{map[string]any{"Id": "111122223333", "Name": "production", "State": "ACTIVE"}}})(rw, c)
	}
	got, err := inspect(t, w).Accounts(t.Context(), testAccount, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []OrganizationAccount{{"111122223333", "production", true}, {"333333333333", "going", true}, {"444455556666", "closed", false}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAnInspectorSaysWhatWasRefusedWhereAndWhatToDo(t *testing.T) {
	endless := jsonReply(map[string]any{"NextToken": "more", "Accounts": []any{map[string]any{"Id": "111122223333", "State": "ACTIVE"}}})
	for _, tc := range []struct {
		name, call string
		answer     func(http.ResponseWriter, *called)
		want       []string
	}{
		{"the role", "sts:AssumeRole", xmlError(403, "AccessDenied", "no"), []string{"sts:AssumeRole of arn:aws:iam::111122223333:role/" + inspectorRole, "account 111122223333, us-east-1", "trust policy"}},
		{"the listing", "organizations:ListAccounts", func(rw http.ResponseWriter, c *called) {
			rw.WriteHeader(400)
			jsonReply(map[string]any{"__type": "AccessDeniedException", "message": "no"})(rw, c)
		}, []string{"organizations:ListAccounts in account 111122223333, us-east-1", "may not read this: allow it organizations:ListAccounts"}},
		{"an account that is none", "organizations:ListAccounts", jsonReply(map[string]any{"Accounts": []any{map[string]any{"Id": "../x"}}}), []string{`names an account "../x"`}},
		{"nobody", "organizations:ListAccounts", jsonReply(map[string]any{}), []string{"names no account"}},
		{"no end", "organizations:ListAccounts", endless, []string{"does not end"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWire(t)
			w.answer[tc.call] = tc.answer
			_, err := inspect(t, w).Accounts(t.Context(), testAccount, "")
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
	if _, err := NewInspector(InspectorOptions{Role: "/rooted"}); err == nil {
		t.Error("a role with a leading slash was accepted")
	}
}

// An inspection is in no ledger. Its records must not look like a canary's.
func TestAnInspectionImitatesNoCanary(t *testing.T) {
	w := newWire(t)
	w.answer["organizations:ListAccounts"] = jsonReply(map[string]any{"Accounts": []any{map[string]any{"Id": testAccount}}})
	if _, err := inspect(t, w).Accounts(t.Context(), testAccount, ""); err != nil {
		t.Fatal(err)
	}
	form := w.of("sts:AssumeRole")[0].form
	for _, c := range w.calls {
		e := event.Event{API: event.API{RequestUID: "r"}, HTTPRequest: event.HTTPRequest{UserAgent: c.userAgent},
			Actor: event.Actor{Session: event.Session{Name: form.Get("RoleSessionName"), SourceIdentity: form.Get("SourceIdentity")}}}
		if f := canary.Forged([]canary.Sighting{{Event: e}}, func(string) bool { return false }); len(f) > 0 {
			t.Errorf("%s: agent %q, session %q, source identity %q", c.name, c.userAgent, e.Actor.Session.Name, e.Actor.Session.SourceIdentity)
		}
		if !strings.Contains(c.userAgent, "app/inspector.auditcanary") {
			t.Errorf("%s does not say who asks: %q", c.name, c.userAgent)
		}
	}
}
