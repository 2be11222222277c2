package exception

import (
	"strings"
	"testing"
)

const issueText = `We know, and have a plan.
{code:yaml}
scope: {scenario: aws/ec2-*, target: 111122223333/eu-west-1, check: attributed}
problem: {hop: delivered, fields: [src_endpoint.ip]}
control: {id: "iso27017:2015/12.4.3", version: 2026-11-26.1}
compensating_controls: [the proxy's own log]
risk: {statement: the proxy rewrites it}
opened: 2026-11-02
expires: 2027-01-31
remediation: {plan: replace it, by: 2027-01-15}
owner: Network
{code}
Thanks.`

func TestARegisterOfIssues(t *testing.T) {
	issue := func(key string, change func(*Issue)) Issue {
		is := Issue{Key: key, Description: issueText, Labels: []string{"x", Label}, Reporter: "Nadia", ApprovedBy: "The CISO"}
		if change != nil {
			change(&is)
		}
		return is
	}
	r, errs := FromIssues("jira SEC", []Issue{
		issue("SEC-9", nil), issue("SEC-10", nil), issue("SEC-10", nil),
		issue("SEC-11", func(i *Issue) { i.Labels = nil }),
		issue("SEC-12", func(i *Issue) { i.ApprovedBy = "" }),
		issue("SEC-13", func(i *Issue) { i.Description = strings.ReplaceAll(i.Description, "{code:yaml}", "```yaml") }),
		issue("SEC-14", func(i *Issue) { i.Description = "please" }),
		issue("SEC-15", func(i *Issue) {
			i.Description = strings.Replace(i.Description, "expires: 2027-01-31", "expires: never", 1)
		}),
		issue("SEC-16", func(i *Issue) {
			i.Description = strings.Replace(i.Description, "{statement", "{approver: Me, statement", 1)
		}),
		issue("SEC-17", func(i *Issue) { i.ApprovedBy = "nadia " }),
	})
	var got []string
	for _, e := range r.Exceptions {
		got = append(got, e.ID)
	}
	if want := "SEC-10 SEC-13 SEC-17 SEC-9"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", got, want)
	}
	text := errs.Error()
	for _, want := range []string{"SEC-14:1: the description has no YAML", `SEC-15:7: expires "never" is not a day`, "SEC-16:5: id, requester, approver and ticket are those of the issue"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said:\n%s", want, text)
		}
	}
	r.MaxDays, r.ControlsVersion = 180, controls
	if e, ok := r.For(failing(), now); !ok || e.ID != "SEC-10" || e.Risk.Approver != "The CISO" || e.Risk.Ticket != "SEC-10" {
		t.Errorf("%v, %+v", ok, e)
	}
	// Who approves their own issue has approved nothing.
	for _, st := range r.Standing(now, nil) {
		if st.InForce != (st.ID != "SEC-17") {
			t.Errorf("%s: %s", st.ID, st.State)
		}
	}
	again, _ := FromIssues("jira SEC", []Issue{issue("SEC-9", nil), issue("SEC-10", nil)})
	other, _ := FromIssues("jira SEC", []Issue{issue("SEC-10", nil), issue("SEC-9", nil)})
	if again.SHA256 != other.SHA256 || again.SHA256 == r.SHA256 {
		t.Error("the hash is not of what the issues say, whatever their order")
	}
}

func FuzzFromIssues(f *testing.F) {
	f.Add(issueText)
	f.Add("```\n- a\n```")
	f.Add("{code}\nowner: |\n  x\n{code}")
	f.Fuzz(func(t *testing.T, text string) {
		r, errs := FromIssues("jira", []Issue{{Key: "SEC-1", Description: text, Labels: []string{Label}, Reporter: "A", ApprovedBy: "B"}})
		if len(r.Exceptions) > 1 || len(r.Exceptions) == 1 != (len(errs) == 0) {
			t.Fatalf("%d exceptions, %v", len(r.Exceptions), errs)
		}
		for _, e := range r.Exceptions {
			if e.ID != "SEC-1" || e.Risk.Approver != "B" || e.Risk.Requester != "A" {
				t.Fatalf("%+v", e)
			}
		}
	})
}
