package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/mod/sumdb/note"

	awsdriver "github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/ledger"
)

// TestNotifyKilledAtEveryEffect kills the real `auditcanary notify` with SIGKILL right
// after each of its effects: each request to Jira or Slack that changes something, and
// each claim of a place in the ledger, which is in S3. (It does one thing after the
// other, so that after one is before the next; that dying between the other writes of an
// append does no harm is for the ledger's own tests to show.)
//
// A ticket is made, resolved after a pass, and reopened by another failure. The runs
// themselves are real ones, made once; every life of the ticket has a copy of them, a
// project and a channel of its own. Jira's search is a second behind, and the step has
// been told four: whoever comes right after the death must not make a second ticket,
// whoever comes later must not leave it at none, and in the end the ticket must be as if
// nobody had died, and nothing said twice.
func TestNotifyKilledAtEveryEffect(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	for _, kind := range []string{"tickets", "chat"} {
		undisturbed := h.life(t, kind)
		var want []atPeople
		var effects []int // how many, by stage
		for stage := range h.stages(kind) {
			undisturbed.append(t, stage)
			undisturbed.notify(t, nil)
			undisturbed.settled(t, "undisturbed")
			want = append(want, undisturbed.people(t))
			effects = append(effects, undisturbed.seen())
		}
		t.Logf("%s: effects by stage %v, which leave in the end %s", kind, effects, want[len(want)-1])
		if min := map[string][]int{"tickets": {6, 9, 12}, "chat": {6}}[kind]; slices.Compare(effects, min) < 0 {
			t.Fatalf("only %d effects: the enumeration is not real", effects)
		}
		for stage, n := range effects {
			for nth := range n {
				t.Run(fmt.Sprintf("%s, stage %d, effect %d", kind, stage+1, nth+1), func(t *testing.T) {
					if testing.Short() && nth%3 != 1 {
						t.Skip("a third of the effects with -short")
					}
					t.Parallel()
					l := h.life(t, kind)
					for before := range stage {
						l.append(t, before)
						l.notify(t, nil)
						l.settled(t, "before")
					}
					l.append(t, stage)
					l.kill(t, nth+1)
					l.recover(t, want[stage])
				})
			}
		}
	}
}

// searchLag is what the step is told; the site's is a quarter of it. No call may take
// longer, also where many tests share two cores.
const searchLag = 4 * time.Second

// history is the runs that every life has.
type history struct {
	sb       *sandbox
	config   string
	signer   note.Signer
	verifier note.Verifier
	leaves   [][][]byte // of each run
	mu       sync.Mutex
	lives    int
}

func newHistory(t *testing.T) *history {
	t.Helper()
	dir := t.TempDir()
	// Half a minute of its clock, which Jira's search is behind, is a second.
	sb, err := startSandbox(filepath.Join(dir, "log"), "-listen", "127.0.0.1:0", "-data", filepath.Join(dir, "data"), "-speed", "30")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := sb.stop(); t.Failed() {
			t.Log(log)
		}
	})
	text, err := os.ReadFile(sb.Config)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{sb: sb, config: string(text)}
	h.signer, h.verifier = ledgerKey(t, sb)
	var had int64
	for _, wrong := range []string{"sourceIPAddress: 203.0.113.66", "", "userAgent: curl/8.0"} {
		faults := "faults: []\n"
		if wrong != "" {
			faults = fmt.Sprintf("faults:\n  - {name: wrong, at: record, match: 'it.eventName == \"DisableKey\"', do: {set: {%s}}}\n", wrong)
		}
		if err := sb.admin(http.MethodPut, "faults", faults, nil); err != nil {
			t.Fatal(err)
		}
		auditcanary(t, sb, nil, "inject", "--json", "--target", "111122223333/eu-west-1", "--scenario", "aws/kms-disable-key")
		if err := sb.admin(http.MethodPost, "time", `{"advance": "2h"}`, nil); err != nil {
			t.Fatal(err)
		}
		auditcanary(t, sb, nil, "confirm", "--json")
		log := openLedger(t, sb)
		cp, err := log.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var run [][]byte
		for leaf, err := range log.Entries(t.Context(), had, cp.Size) {
			if err != nil {
				t.Fatal(err)
			}
			run = append(run, leaf.Data)
		}
		h.leaves, had = append(h.leaves, run), cp.Size
	}
	if err := sb.admin(http.MethodPut, "faults", "faults: []\n", nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// openLedger opens a sandbox's own ledger, to read it and to write into it.
func openLedger(t *testing.T, sb *sandbox) *ledger.Log {
	t.Helper()
	store, err := ledger.NewDir(filepath.Join(filepath.Dir(sb.Config), "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	signer, verifier := ledgerKey(t, sb)
	log, err := ledger.Open(t.Context(), store, "auditcanary.example/demo", signer, verifier)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func ledgerKey(t *testing.T, sb *sandbox) (note.Signer, note.Verifier) {
	t.Helper()
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(sb.Config), name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	signer, err := note.NewSigner(read("signing.key"))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(read("signing.key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

// stages of a life: the chat is told of a run as of any other.
func (h *history) stages(kind string) [][][]byte {
	if kind == "chat" {
		return h.leaves[:1]
	}
	return h.leaves
}

// life is one ledger with a project and a channel of its own, behind a witness.
type life struct {
	*history
	log              *ledger.Log
	config           string
	project, channel string
	witness          *witness
	env              []string
}

func (h *history) life(t *testing.T, kind string) *life {
	t.Helper()
	h.mu.Lock()
	h.lives++
	n := h.lives
	h.mu.Unlock()
	l := &life{history: h, project: fmt.Sprintf("LIFE%d", n), channel: fmt.Sprintf("C0LIFE%04d", n)}
	for _, made := range []string{fmt.Sprintf(`{"project": %q}`, l.project), fmt.Sprintf(`{"channel": %q}`, l.channel)} {
		if err := h.sb.admin(http.MethodPost, "people", made, nil); err != nil {
			t.Fatal(err)
		}
	}
	sandbox := h.sb.Env["AWS_ENDPOINT_URL"]
	l.witness = newWitness(t, sandbox)
	prefix := fmt.Sprintf("life-%d/", n)
	text := strings.ReplaceAll(h.config, sandbox, l.witness.URL)
	for _, change := range [][2]string{
		{"dir: ledger", "s3: {bucket: auditcanary-ledger, prefix: " + prefix + ", region: us-east-1}"},
		{"project: SEC", "project: " + l.project},
		{"channel: C0SECURITY", "channel: " + l.channel},
		{"tickets:", "tickets:\n  resolve_after: 1\n  search_lag: " + searchLag.String()},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the configuration does not contain %q", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	other := map[string]string{"tickets": "slack", "chat": "jira"}[kind]
	text = regexp.MustCompile(`(?m)^  `+other+`: .*\n`).ReplaceAllString(text, "")
	l.config = filepath.Join(filepath.Dir(h.sb.Config), fmt.Sprintf("life-%d.yaml", n))
	if err := os.WriteFile(l.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, e := range h.sb.environ() {
		l.env = append(l.env, strings.ReplaceAll(e, sandbox, l.witness.URL))
	}
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &sandbox, UsePathStyle: true,
		Credentials: awssdk.CredentialsProvider(credentials.NewStaticCredentialsProvider(h.sb.Env["AWS_ACCESS_KEY_ID"], h.sb.Env["AWS_SECRET_ACCESS_KEY"], "")),
	})
	var err error
	if l.log, err = ledger.Open(t.Context(), awsdriver.NewLedgerStore(client, "auditcanary-ledger", prefix), "auditcanary.example/demo", h.signer, h.verifier); err != nil {
		t.Fatal(err)
	}
	return l
}

// append lets another run have been.
func (l *life) append(t *testing.T, run int) {
	t.Helper()
	if _, err := l.log.Append(t.Context(), l.leaves[run]...); err != nil {
		t.Fatal(err)
	}
	l.witness.count(0)
}

func (l *life) command() *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin, "auditcanary"), "--config", l.config, "notify", "--json")
	cmd.Env = l.env
	return cmd
}

// told is what notify says of what it did.
type told struct {
	Acts  []struct{ Act, Why, Error string }
	Posts []struct{ Mark, Error string }
}

// notify does the step, and reports whether there is nothing that it left.
func (l *life) notify(t *testing.T, into *told) (done bool) {
	t.Helper()
	cmd := l.command()
	out, err := cmd.Output()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	var res told
	if err := json.Unmarshal(out, &res); err != nil {
		t.Fatalf("notify: %v\n%s\n%s", err, out, ee.Stderr)
	}
	if into != nil {
		*into = res
	}
	return err == nil && !slices.ContainsFunc(res.Posts, func(p struct{ Mark, Error string }) bool { return p.Error != "" })
}

// settled does the step once more: nothing may be left to do.
func (l *life) settled(t *testing.T, when string) {
	t.Helper()
	n := l.seen()
	var res told
	if done := l.notify(t, &res); !done || len(res.Acts) > 0 || len(res.Posts) > 0 || l.seen() != n {
		t.Errorf("%s: once more there is something to do: %+v", when, res)
	}
}

func (l *life) seen() int { return l.witness.effects() }

// kill lets the step be killed when so many effects have been.
func (l *life) kill(t *testing.T, nth int) {
	t.Helper()
	reached := l.witness.count(nth)
	cmd := l.command()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case what := <-reached:
		_ = cmd.Process.Kill()
		<-ended
		t.Logf("killed after %s", what)
	case err := <-ended:
		t.Fatalf("it ended (%v) after %d effects", err, l.seen())
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		t.Fatal("it never came so far")
	}
	l.witness.count(0)
}

// recover does the step until nothing is left, and sees what it left.
func (l *life) recover(t *testing.T, want atPeople) {
	t.Helper()
	for try := range 8 {
		done := l.notify(t, nil)
		is := l.people(t)
		if is.tickets > 1 {
			t.Fatalf("try %d after the death: %d tickets", try+1, is.tickets)
		}
		if done {
			l.settled(t, "in the end")
			if is.String() != want.String() {
				t.Errorf("in the end there is\n%s\nundisturbed it was\n%s", is, want)
			}
			return
		}
		time.Sleep(searchLag + 100*time.Millisecond)
	}
	t.Errorf("it is never done; there is %s", l.people(t))
}

// atPeople is what people have got, without what is another in each run.
type atPeople struct {
	tickets  int
	ticket   string
	comments []string
	files    int
	posts    []string
}

func (p atPeople) String() string {
	return fmt.Sprintf("%d tickets, %d files, posts %q, comments %q\n%s", p.tickets, p.files, p.posts, p.comments, p.ticket)
}

// leafNumber: how many entries a death leaves is its own affair.
var leafNumber = regexp.MustCompile(`entry \d+`)

func (l *life) people(t *testing.T) (out atPeople) {
	t.Helper()
	var tickets []atDesk
	var posts []inChat
	if err := errors.Join(l.sb.admin(http.MethodGet, "tickets", "", &tickets), l.sb.admin(http.MethodGet, "messages", "", &posts)); err != nil {
		t.Fatal(err)
	}
	for _, k := range tickets {
		if !strings.HasPrefix(k.Key, l.project+"-") {
			continue
		}
		out.tickets++
		out.ticket = leafNumber.ReplaceAllString(k.Status+" "+k.Summary+"\n"+k.Description, "entry N")
		out.comments, out.files = k.Comments, len(k.Attachments)
	}
	for _, m := range posts {
		if m.Channel == l.channel {
			out.posts = append(out.posts, fmt.Sprintf("%s (%t) %s", m.Metadata.Payload.Mark, m.Thread != "", m.Text))
		}
	}
	return out
}

// witness stands before the sandbox, counts what changes something, and after one of
// these lets the caller wait for ever.
type witness struct {
	*httptest.Server
	mu      sync.Mutex
	n       int
	at      int
	reached chan string
}

func newWitness(t *testing.T, before string) *witness {
	t.Helper()
	to, err := url.Parse(before)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to) // it leaves the Host as it was signed
	w := &witness{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		// What was begun is done, even if the caller dies.
		proxy.ServeHTTP(rec, r.WithContext(context.WithoutCancel(r.Context())))
		if isEffect(r) && rec.Code < 300 && w.effect(r) {
			<-r.Context().Done()
			return
		}
		maps.Copy(rw.Header(), rec.Header())
		rw.WriteHeader(rec.Code)
		_, _ = rw.Write(rec.Body.Bytes()) // the caller may be gone
	}))
	t.Cleanup(w.Close)
	return w
}

// isEffect: what changes a ticket, posts a message, or claims a place in the ledger.
func isEffect(r *http.Request) bool {
	path := r.URL.Path
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return false
	case strings.HasPrefix(path, "/_jira/"):
		return !strings.Contains(path, "/search") && !strings.HasSuffix(path, "/comment/list")
	case strings.HasPrefix(path, "/_slack/"):
		return strings.HasSuffix(path, "/chat.postMessage")
	}
	return strings.Contains(path, "/claim/")
}

// effect counts one, and reports whether it is the one that is waited for.
func (w *witness) effect(r *http.Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	if w.n == w.at {
		w.reached <- r.Method + " " + r.URL.Path
		return true
	}
	return w.at > 0 && w.n > w.at
}

// count begins anew; the effect of this ordinal is reported and not answered (0: none).
func (w *witness) count(at int) <-chan string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n, w.at, w.reached = 0, at, make(chan string, 1)
	return w.reached
}

func (w *witness) effects() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}
