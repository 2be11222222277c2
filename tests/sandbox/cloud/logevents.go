package cloud

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// logged is what log groups hold: what trails deliver to them, and what is put there.
type logged struct {
	groups map[logGroupKey][]logEvent // in the order in which they came
	n      int                        // ids that were given
}

type logGroupKey struct {
	place
	group string
}

type logEvent struct {
	stream, message, id string
	at, arrived         int64 // ms
}

// logReaderPolicy is of the role that reads the log group of the organisation's trail.
const logReaderPolicy = `{"Version":"2012-10-17","Statement":[
 {"Effect":"Allow","Action":"logs:FilterLogEvents","Resource":"arn:aws:logs:us-east-1:*:log-group:` + AlertLogGroup + `:*"},
 {"Effect":"Allow","Action":"logs:DescribeLogGroups","Resource":"*"}]}`

// maxLogEvents of one group that are kept, the latest.
const maxLogEvents = 50_000

func (c *Cloud) logEvent(k logGroupKey, e logEvent) {
	l := &c.logged
	if l.groups == nil {
		l.groups = map[logGroupKey][]logEvent{}
	}
	l.n++
	e.id = fmt.Sprintf("%056d", l.n) // the real ones have 56 digits too
	all := append(l.groups[k], e)
	l.groups[k] = all[max(0, len(all)-maxLogEvents):]
}

// logRecord delivers a record to a trail's log group. Its event is filed under the time
// of the record.
func (c *Cloud) logRecord(at place, group, stream string, rec map[string]any, now time.Time) {
	a := c.world.Accounts[at.account]
	if a == nil || a.Regions[at.region] == nil || a.Regions[at.region].Things[logGroups][group] == nil {
		return
	}
	message, err := json.Marshal(rec)
	when, err2 := time.Parse(time.RFC3339, field(rec, "eventTime"))
	if err != nil || err2 != nil {
		return
	}
	c.logEvent(logGroupKey{at, group}, logEvent{stream: stream, message: string(message), at: when.UnixMilli(), arrived: now.UnixMilli()})
}

const logStreams = "log stream" // a stream's id is its group's name, a colon, its own

var logStreamName = regexp.MustCompile(`^[^:*]{1,512}$`)

func createLogStream(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	name := k.str("logStreamName")
	if !logStreamName.MatchString(name) {
		return reply{}, fail(400, "InvalidParameterException", "1 validation error detected: Value at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*")
	}
	id := g.ID + ":" + name
	if k.region().Things[logStreams][id] != nil {
		return reply{}, fail(400, "ResourceAlreadyExistsException", "The specified log stream already exists")
	}
	k.region().Put(logStreams, &Thing{ID: id, Attr: map[string]any{}})
	return reply{}, nil
}

// putLogEvents takes at most 10,000 of them, in the order of their time.
func putLogEvents(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	stream, events := k.str("logStreamName"), k.list("logEvents")
	if k.region().Things[logStreams][g.ID+":"+stream] == nil {
		return reply{}, fail(400, "ResourceNotFoundException", "The specified log stream does not exist.")
	}
	if len(events) < 1 || len(events) > 10_000 {
		return reply{}, fail(400, "InvalidParameterException", "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length less than or equal to 10000")
	}
	var took []logEvent
	for _, v := range events {
		e, _ := v.(map[string]any)
		at, isNumber := e["timestamp"].(float64)
		message := field(e, "message")
		if !isNumber || message == "" || len(took) > 0 && int64(at) < took[len(took)-1].at {
			return reply{}, fail(400, "InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.")
		}
		took = append(took, logEvent{stream: stream, message: message, at: int64(at), arrived: k.Time.UnixMilli()})
	}
	for _, e := range took {
		k.cloud.logEvent(logGroupKey{place{k.Principal.Account, k.Region}, g.ID}, e)
	}
	return reply{body: map[string]any{"nextSequenceToken": strconv.Itoa(k.cloud.logged.n)}}, nil
}

// logEventsAPage is how many events the sandbox looks at for one page of FilterLogEvents:
// a page may hold none, and there be more (API reference: "even if nextToken is present").
const logEventsAPage = 1000

func filterLogEvents(k *call) (reply, error) {
	g, err := k.knownLogGroup()
	if err != nil {
		return reply{}, err
	}
	from, err := k.integer("startTime", 0)
	until, err2 := k.integer("endTime", int(time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()))
	most, err3 := k.integer("limit", 10_000)
	if err := cmp.Or(err, err2, err3); err != nil || most < 1 || most > 10_000 {
		return reply{}, fail(400, "InvalidParameterException", "startTime, endTime and limit (1 to 10000) are numbers")
	}
	matches, err := parseWords(k.str("filterPattern"))
	if err != nil {
		return reply{}, fail(400, "InvalidParameterException", "Invalid filter pattern: %v", err)
	}
	all := slices.Clone(k.cloud.logged.groups[logGroupKey{place{k.Principal.Account, k.Region}, g.ID}])
	all = slices.DeleteFunc(all, func(e logEvent) bool {
		return e.at < int64(from) || e.at > int64(until) || !strings.HasPrefix(e.stream, k.str("logStreamNamePrefix"))
	})
	slices.SortStableFunc(all, func(a, b logEvent) int { return cmp.Compare(a.at, b.at) })
	// A token is the id of the last event that was looked at.
	if token := k.str("nextToken"); token != "" {
		i := slices.IndexFunc(all, func(e logEvent) bool { return e.id == token })
		if i < 0 {
			return reply{}, fail(400, "InvalidParameterException", "The specified nextToken is invalid.")
		}
		all = all[i+1:]
	}
	found, next := []any{}, ""
	for i, e := range all {
		if matches(e.message) {
			found = append(found, map[string]any{"logStreamName": e.stream, "timestamp": e.at, "message": e.message, "ingestionTime": e.arrived, "eventId": e.id})
		}
		if more := i+1 < len(all); more && (i+1 == logEventsAPage || len(found) == most) {
			next = e.id
			break
		}
	}
	body := map[string]any{"events": found, "searchedLogStreams": []any{}}
	if next != "" {
		body["nextToken"] = next
	}
	return reply{body: body}, nil
}

var patternWord = regexp.MustCompile(`^(\??)(?:"([^"]+)"|([A-Za-z0-9_]+))(?:\s+|$)`)

// parseWords reads a filter pattern of words: all of them must stand in the message, or
// with question marks before them any (user guide, "Filter pattern syntax": where both
// kinds stand together, those with question marks are ignored).
func parseWords(text string) (func(message string) bool, error) {
	if len(text) > 1024 {
		return nil, fmt.Errorf("it is longer than 1024 characters")
	}
	var all, any []string
	for rest := strings.TrimSpace(text); rest != ""; {
		m := patternWord.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("%.40q is no word", rest)
		}
		rest = rest[len(m[0]):]
		if word := m[2] + m[3]; m[1] == "?" {
			any = append(any, word)
		} else {
			all = append(all, word)
		}
	}
	return func(message string) bool {
		contains := func(word string) bool { return strings.Contains(message, word) }
		if len(all) == 0 && len(any) > 0 {
			return slices.ContainsFunc(any, contains)
		}
		return !slices.ContainsFunc(all, func(word string) bool { return !contains(word) })
	}, nil
}
