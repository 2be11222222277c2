package story

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hostileFields of a record are anybody's to choose, or any proxy's to change. Each of
// them is compared with what was done.
var hostileFields = []string{
	"userIdentity.arn", "sourceIPAddress", "userAgent", "userIdentity.principalId",
	"userIdentity.sessionContext.sourceIdentity", "userIdentity.sessionContext.sessionIssuer.arn", "errorCode", "errorMessage",
}

// TestHostileTextReachesPeopleAsText puts both corpora of hostile text (what browsers
// run, and what Slack formats) into the fields of records, lets the checks fail with it,
// and looks at what reached Jira and Slack: all of it is there, in nodes that are text
// and nothing else.
func TestHostileTextReachesPeopleAsText(t *testing.T) {
	t.Parallel()
	var corpus []string
	for _, file := range []string{"../conformance/chat/testdata/mrkdwn.txt", "../browser/testdata/xss.txt"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		corpus = append(corpus, strings.Split(strings.TrimSpace(string(data)), "\n")...)
	}
	events := []string{"DisableKey", "AuthorizeSecurityGroupIngress"}
	scenarios := "aws/kms-disable-key,aws/ec2-security-group-ingress"
	places := [][2]string{{"111122223333", "us-east-1"}, {"111122223333", "eu-west-1"}, {"444455556666", "us-east-1"}, {"444455556666", "eu-west-1"}}
	if slots := len(hostileFields) * len(events) * len(places); len(corpus) > slots {
		t.Fatalf("%d texts for %d fields", len(corpus), slots)
	}

	// Field by field, so that the first, which Slack is told, has what Slack formats.
	sets := map[string][]string{}
	n := 0
	for _, field := range hostileFields {
		for _, event := range events {
			for _, p := range places {
				match := fmt.Sprintf(`it.eventName == "%s" && it.recipientAccountId == "%s" && it.awsRegion == "%s"`, event, p[0], p[1])
				text, err := json.Marshal(corpus[n%len(corpus)])
				if err != nil {
					t.Fatal(err)
				}
				sets[match] = append(sets[match], fmt.Sprintf("%s: %s", field, text))
				n++
			}
		}
	}
	faults := "faults:\n"
	for match, set := range sets {
		faults += fmt.Sprintf("  - {name: hostile %d, at: record, match: '%s', do: {set: {%s}}}\n", len(faults), match, strings.Join(set, ", "))
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "hostile.yaml")
	if err := os.WriteFile(file, []byte(faults), 0o600); err != nil {
		t.Fatal(err)
	}
	sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "0", "-faults", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := sb.stop(); t.Failed() {
			t.Log(log)
		}
	})
	auditcanary(t, sb, nil, "inject", "--json", "--scenario", scenarios)
	if err := sb.admin(http.MethodPost, "time", `{"advance": "2h"}`, nil); err != nil {
		t.Fatal(err)
	}
	auditcanary(t, sb, nil, "confirm", "--json")
	auditcanary(t, sb, nil, "notify", "--json")

	var tickets []atDesk
	if err := sb.admin(http.MethodGet, "tickets", "", &tickets); err != nil {
		t.Fatal(err)
	}
	if len(tickets) < len(events)*len(places) {
		t.Fatalf("only %d tickets", len(tickets))
	}
	var all strings.Builder
	for _, k := range tickets {
		all.WriteString(k.Summary + "\n" + k.Description + "\n")
		for _, body := range append(k.Bodies, k.Body) {
			onlyText(t, k.Key, body)
		}
	}
	missing := 0
	for _, text := range corpus {
		if !strings.Contains(all.String(), text) {
			missing++
			t.Errorf("no ticket says %q", text)
		}
	}
	t.Logf("%d texts in %d tickets", len(corpus)-missing, len(tickets))

	var posts []inChat
	if err := sb.admin(http.MethodGet, "messages", "", &posts); err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, m := range posts {
		var blocks any
		if err := json.Unmarshal(m.Blocks, &blocks); err != nil {
			t.Fatal(err)
		}
		said += inertBlocks(t, sb.Env["AWS_ENDPOINT_URL"]+"/_jira/browse/", blocks)
		if strings.ContainsAny(m.Text, "<>*_`~@") {
			t.Errorf("the text of a message formats: %q", m.Text)
		}
		for arg, want := range map[string]string{"mrkdwn": "false", "parse": "none", "link_names": "false", "unfurl_links": "false", "unfurl_media": "false"} {
			if m.Args[arg] != want {
				t.Errorf("a message with %s=%q", arg, m.Args[arg])
			}
		}
	}
	for _, text := range corpus[:len(events)*len(places)] {
		if !strings.Contains(said, strings.Join(strings.Fields(text), " ")) {
			t.Errorf("no message says %q", text)
		}
	}
}

// onlyText looks at a document of Atlassian's: every node is one that shows text, and
// no text is a link.
func onlyText(t *testing.T, key string, node any) {
	t.Helper()
	m, _ := node.(map[string]any)
	kind, _ := m["type"].(string)
	if !slices.Contains([]string{"doc", "heading", "paragraph", "text", "hardBreak", "codeBlock", "table", "tableRow", "tableHeader", "tableCell", "bulletList", "listItem"}, kind) {
		t.Errorf("%s: a node %q", key, kind)
	}
	if m["marks"] != nil {
		t.Errorf("%s: text %q is more than that: %v", key, m["text"], m["marks"])
	}
	content, _ := m["content"].([]any)
	for _, c := range content {
		onlyText(t, key, c)
	}
}

// inertBlocks looks at the blocks of a message: no text that Slack formats, no element
// that calls somebody, no link but to a ticket. It returns what they say.
func inertBlocks(t *testing.T, site string, v any) (said string) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			said += inertBlocks(t, site, x)
		}
	case map[string]any:
		kind, _ := v["type"].(string)
		if !slices.Contains([]string{"header", "context", "divider", "section", "plain_text", "rich_text", "rich_text_section", "rich_text_list", "text", "link"}, kind) {
			t.Errorf("an element %q: %v", kind, v)
		}
		link, _ := v["url"].(string)
		if (kind == "link" || link != "") && !strings.HasPrefix(link, site) {
			t.Errorf("a link to %q", link)
		}
		if text, ok := v["text"].(string); ok {
			said += text + "\n"
		}
		for key, x := range v {
			if key == "elements" || key == "fields" || key == "text" {
				said += inertBlocks(t, site, x)
			}
		}
	}
	return said
}
