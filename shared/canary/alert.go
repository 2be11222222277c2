package canary

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Promise is an alert that a scenario promises: what it does must ring there.
type Promise struct {
	// Alert is its name; the configuration says where an alert of that name arrives.
	Alert string `json:"alert"`
	// On which outcome it is promised: rules that look at success are blind to denials.
	On PromisedOn `json:"on"`
	// Step that sets it off; "" = the only one (or any of them, where the configuration
	// promises it).
	Step string `json:"step,omitempty"`
}

// PromisedOn is the outcome of a call for which an alert is promised.
type PromisedOn string

const (
	OnAllowed PromisedOn = "allowed"
	OnDenied  PromisedOn = "denied"
)

// Rang is one alert as it arrived.
type Rang struct {
	// Alert is its name in the configuration.
	Alert string `json:"alert"`
	// ID at the place where it arrived (message id, finding id, alarm and time). The
	// same id once more is the same alert, updated.
	ID string `json:"id"`
	// At is when it rang (was sent, or last updated), by the provider's clock.
	At time.Time `json:"at"`
	// Count is how many occurrences are folded into it; 0 counts as 1.
	Count int `json:"count,omitempty"`
	// Since is when the first of those occurred (a finding's first event); with Period,
	// only since when they are counted (the beginning of a metric's period). Zero: nobody
	// knows; then Count says how many only against an earlier state of the same alert.
	Since  time.Time `json:"since,omitzero"`
	Period bool      `json:"period,omitempty"`
	// Suppressed, when not empty, says why nobody heard it ("archived by filter x").
	Suppressed string `json:"suppressed,omitempty"`
	// What it names, as found in the payload.
	RequestIDs []string `json:"request_ids,omitempty"`
	EventIDs   []string `json:"event_ids,omitempty"`
	Sessions   []string `json:"sessions,omitempty"` // that begin with our mark
	// More: not all of the payload was read, or it names more than is kept of it.
	More bool `json:"more,omitempty"`
	// Foreign: the caller that it names is none of ours. So is then what it counts last;
	// whose the others are, of more than one, it does not say.
	Foreign bool `json:"foreign,omitempty"`
	// Weak, when not empty, says why it cannot name an event ("an alarm has no event").
	Weak string `json:"weak,omitempty"`
	// Rule that made it, as far as it says so.
	Rule string `json:"rule,omitempty"`
	// Payload as it arrived, cut at MaxPayload; SHA256 of all of it, hex.
	Payload []byte `json:"payload,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// MaxPayload is how much of an alert's payload is kept, in bytes.
const MaxPayload = 16 << 10

// Name fills in the payload, its hash, and what it names: an alert is known by the
// request id or event id in it, however it is wrapped. It reads JSON, JSON in the
// strings of JSON (SNS and alert tools wrap events so) and, of what is none, text. The
// payload is anybody's: of what is too large or too deep the rest is not read, and
// what is read proves nothing before it is held against the ledger.
func (r *Rang) Name(payload []byte) {
	sum := sha256.Sum256(payload)
	r.SHA256, r.Payload = hex.EncodeToString(sum[:]), bytes.Clone(payload[:min(len(payload), MaxPayload)])
	r.RequestIDs, r.EventIDs, r.Sessions, r.More = nil, nil, nil, len(payload) > maxNamed
	(&naming{r: r}).read(payload[:min(len(payload), maxNamed)], 0)
}

// Bounds of what is read of a payload: bytes, JSON in strings of JSON, tokens in all,
// levels of objects and lists, names of each sort, and characters of a name or key.
const (
	maxNamed      = 1 << 20
	maxWrapped    = 6
	maxTokens     = 200_000
	maxNested     = 64
	maxNames      = 50
	maxNameLength = 128
)

// naming is one payload being read.
type naming struct {
	r      *Rang
	tokens int
}

// read takes in JSON, or text: what is cut off or followed by more is both.
func (n *naming) read(data []byte, wrapped int) {
	text := bytes.TrimSpace(data)
	if len(text) > 0 && (text[0] == '{' || text[0] == '[') {
		if n.walk(text, wrapped) {
			return
		}
	}
	n.text(string(data))
}

// walk reads JSON token by token, so that of a payload that was cut off everything
// before the cut counts, and of a key that is there twice both. It reports whether it
// is JSON from one end to the other, and all of it was read.
func (n *naming) walk(data []byte, wrapped int) bool {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	type level struct {
		object bool
		key    string // last key of an object; of an array, the key it stands under
		parent string
		isKey  bool // the next token is a key
	}
	var open []level
	value := func() (key, parent string) {
		if len(open) == 0 {
			return "", ""
		}
		top := &open[len(open)-1]
		if top.object {
			top.isKey = true
		}
		return top.key, top.parent
	}
	for {
		token, err := dec.Token()
		if err != nil {
			return len(open) == 0 && dec.InputOffset() == int64(len(data))
		}
		if n.tokens++; n.tokens > maxTokens {
			n.r.More = true
			return false
		}
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{', '[':
				if len(open) >= maxNested {
					n.r.More = true
					return false
				}
				key, parent := value()
				if t == '{' {
					parent = key
				}
				open = append(open, level{object: t == '{', key: key, parent: parent, isKey: true})
			default:
				open = open[:len(open)-1]
			}
		case string:
			if top := len(open) - 1; top >= 0 && open[top].object && open[top].isKey {
				open[top].key, open[top].isKey = t, false
				n.sessions(t)
				continue
			}
			key, parent := value()
			n.field(key, parent, t, wrapped)
		default:
			value()
		}
	}
}

// field takes in one string of JSON.
func (n *naming) field(key, parent, s string, wrapped int) {
	if id := strings.TrimSpace(s); anID().MatchString(id) {
		what := meaning(key, parent)
		if what&namesRequest != 0 {
			n.keep(&n.r.RequestIDs, id)
		}
		if what&namesEvent != 0 {
			n.keep(&n.r.EventIDs, id)
		}
	}
	if inner := strings.TrimSpace(s); wrapped < maxWrapped && len(inner) > 1 && (inner[0] == '{' || inner[0] == '[' || inner[0] == '"') {
		var unquoted string
		if inner[0] == '"' && json.Unmarshal([]byte(inner), &unquoted) == nil {
			inner = unquoted // a string encoded twice
		}
		n.read([]byte(inner), wrapped+1)
		return
	}
	n.text(s)
}

// text takes in what is no JSON: "requestID: 1b2c..., eventID=...".
func (n *naming) text(s string) {
	for _, m := range n.find(namedInText(), s) {
		if len(m[2]) > maxNameLength {
			continue
		}
		if strings.EqualFold(m[1], "request") {
			n.keep(&n.r.RequestIDs, m[2])
		} else {
			n.keep(&n.r.EventIDs, m[2])
		}
	}
	n.sessions(s)
}

func (n *naming) sessions(s string) {
	if !strings.Contains(s, Marker+"-") {
		return
	}
	for _, m := range n.find(ourSession(), s) {
		n.keep(&n.r.Sessions, m[1])
	}
}

// find is what of a text is looked at.
func (n *naming) find(what *regexp.Regexp, s string) [][]string {
	const most = 4 * maxNames // they may be the same name
	all := what.FindAllStringSubmatch(s, most+1)
	n.r.More = n.r.More || len(all) > most
	return all[:min(len(all), most)]
}

func (n *naming) keep(names *[]string, name string) {
	switch {
	case slices.Contains(*names, name):
	case len(*names) >= maxNames:
		n.r.More = true
	default:
		*names = append(*names, name)
	}
}

var (
	anID        = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}$`) })
	namedInText = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)(request|event)[ _-]?u?ids?\b\\*["'*]*\s*(?:[:=]|is\s)?\s*\\*["'*]*([A-Za-z0-9][A-Za-z0-9-]{5,})`)
	})
	ourSession = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?:^|[^A-Za-z0-9-])(` + Marker + `-[a-z0-9-]{1,64})`)
	})
)

// What the value under a key is.
const (
	namesRequest = 1 << iota
	namesEvent
)

// meaning of a key under which there is a string, perhaps in a list: by its own name
// (requestID, eventID, in any spelling), by its name with that of the object it is in
// (OCSF's api.request.uid and metadata.uid, event.id of Elastic's), or as a key by
// which alert tools tell repeats, into which either is put.
func meaning(key, parent string) int {
	k := plainKey(key)
	switch {
	case strings.HasSuffix(k, "requestid"), strings.HasSuffix(k, "requestids"), strings.HasSuffix(k, "requestuid"):
		return namesRequest
	case strings.HasSuffix(k, "eventid"), strings.HasSuffix(k, "eventids"), strings.HasSuffix(k, "eventuid"), k == "metadatauid", k == "evtid":
		return namesEvent
	case k == "dedupkey", k == "dedupid", k == "deduplicationid", k == "incidentkey", k == "alias", k == "correlationid":
		return namesRequest | namesEvent
	case k != "id" && k != "uid":
		return 0
	}
	switch plainKey(parent) {
	case "request":
		return namesRequest
	case "event", "metadata":
		return namesEvent
	}
	return 0
}

// plainKey is a key in one spelling: "request_ID", "@requestId" are "requestid".
func plainKey(key string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, key[:min(len(key), maxNameLength)])
}
