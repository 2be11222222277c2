package story

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// atDesk is a ticket as the sandbox's Jira site has it.
type atDesk struct {
	Key, Summary, Status, Priority, Description string
	Open                                        bool
	Labels, Comments                            []string
	Body                                        any
	Bodies                                      []any
	Attachments                                 map[string]string
}

// inChat is a message as the sandbox's Slack workspace has it.
type inChat struct {
	Channel, TS, Thread, Text string
	Blocks                    json.RawMessage
	Metadata                  struct {
		Payload struct {
			Mark string
			Part int
		} `json:"event_payload"`
	}
	Args map[string]string
}

func ticketsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: tickets [KEY]")
	}
	var all []atDesk
	ts.Check(json.Unmarshal(get(ts, "/_sandbox/tickets"), &all))
	w := ts.Stdout()
	if len(args) == 0 {
		for _, t := range all {
			fmt.Fprintf(w, "%s %s, priority %s, %d comments, %d files: %s\n", t.Key, t.Status, t.Priority, len(t.Comments), len(t.Attachments), t.Summary)
		}
		return
	}
	i := slices.IndexFunc(all, func(t atDesk) bool { return t.Key == args[0] })
	if i < 0 {
		ts.Fatalf("there is no ticket %s", args[0])
	}
	fmt.Fprintf(w, "%s\nlabels %s\n%s\n", all[i].Summary, strings.Join(all[i].Labels, " "), all[i].Description)
	for n, c := range all[i].Comments {
		fmt.Fprintf(w, "comment %d: %s\n", n+1, c)
	}
	for name, data := range all[i].Attachments {
		fmt.Fprintf(w, "file %s: %s\n", name, data)
	}
}

func messagesCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: messages")
	}
	var all []inChat
	ts.Check(json.Unmarshal(get(ts, "/_sandbox/messages"), &all))
	for _, m := range all {
		if m.Thread != "" {
			fmt.Fprint(ts.Stdout(), "> ")
		}
		fmt.Fprintln(ts.Stdout(), m.Text)
	}
}

func peopleCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: people JSON")
	}
	tell(ts, http.MethodPost, "people", args[0])
}

func faultsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: faults FILE")
	}
	tell(ts, http.MethodPut, "faults", ts.ReadFile(args[0]))
}

func onceCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: once SCENARIOS PLACES")
	}
	ts.Check(ts.Exec("auditcanary", "inject", "--scenario", args[0], "--target", args[1]))
	tell(ts, http.MethodPost, "time", `{"advance": "2h"}`)
	_ = ts.Exec("auditcanary", "confirm") // that it fails may be the story
}

// tell asks the sandbox to change something about itself.
func tell(ts *testscript.TestScript, method, path, body string) {
	req, err := http.NewRequest(method, ts.Getenv("AWS_ENDPOINT_URL")+"/_sandbox/"+path, strings.NewReader(body))
	ts.Check(err)
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		ts.Fatalf("%s %s: %s: %s", path, body, resp.Status, answer)
	}
}
