package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// AlertPlace is an account and region in which alerts are read.
type AlertPlace struct {
	// Alert is their name in the configuration.
	Alert string
	// Account that the credentials act in.
	Account string
	// Config has the region, and the credentials that may read there. What is asked
	// carries no mark of canaries: no receipt is kept of it.
	Config aws.Config
	// Clock bounds what is asked for; nothing is decided by it.
	Clock func() time.Time
	// CallTimeout bounds each call with its retries (default 30 s).
	CallTimeout time.Duration
}

// maxAlerts is how many alerts one look takes.
const maxAlerts = 5000

func (p AlertPlace) checked() (AlertPlace, error) {
	switch {
	case p.Alert == "":
		return p, errors.New("aws: an alert has no name")
	case !accountForm.MatchString(p.Account):
		return p, fmt.Errorf("aws: alert %s: account %q is not of 12 digits", p.Alert, p.Account)
	case !regionForm.MatchString(p.Config.Region):
		return p, fmt.Errorf("aws: alert %s: %q is no region", p.Alert, p.Config.Region)
	case p.Clock == nil:
		return p, fmt.Errorf("aws: alert %s: no clock", p.Alert)
	}
	if p.CallTimeout <= 0 {
		p.CallTimeout = 30 * time.Second
	}
	p.Config = p.Config.Copy()
	p.Config.AppID, p.Config.APIOptions = inspectorAppID, slices.Clone(p.Config.APIOptions)
	// Others read there too: what is throttled is asked again.
	p.Config.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 6, 5*time.Second })
	}
	return p, nil
}

// explain says which reading failed ("guardduty:ListFindings of ID"), where, and
// what to do next.
func (p AlertPlace) explain(err error, what string) error {
	operation, _, _ := strings.Cut(what, " ")
	may := "these credentials may not read this: allow them " + operation
	return explain(err, what, p.Account, p.Config.Region, advice{
		"AccessDenied": may, "AccessDeniedException": may, "UnauthorizedOperation": may,
		"InvalidAccessException": "Security Hub is not switched on there, and takes no findings: switch it on, or name another region",
	})
}

// askPlace makes one call within its time.
func askPlace[In, Out, Option any](ctx context.Context, p AlertPlace, what string, call func(context.Context, *In, ...func(*Option)) (*Out, error), in *In) (*Out, error) {
	ctx, cancel := context.WithTimeout(ctx, p.CallTimeout)
	defer cancel()
	out, err := call(ctx, in)
	if err != nil {
		return nil, p.explain(err, what)
	}
	return out, nil
}

// heard is one look at a place, as it grows.
type heard struct {
	run.Arrived
	cut bool // not all of it was seen
}

// miss notes what could not be seen: the look is not complete.
func (l *heard) miss(format string, args ...any) {
	l.cut = true
	l.note(format, args...)
}

// note says what could not be read of what was seen.
func (l *heard) note(format string, args ...any) {
	const most = 50
	if len(l.Problems) < most {
		l.Problems = append(l.Problems, cut(fmt.Sprintf(format, args...), maxWhy))
	}
}

func (l *heard) done(place string) run.Arrived {
	if l.AsOf.IsZero() && !l.cut {
		l.miss("%s: the reply has no Date, so that nobody knows as of when it is", place)
	}
	if l.cut {
		l.AsOf = time.Time{}
	}
	return l.Arrived
}

// timeIn reads a time that a service writes as text.
func timeIn(s *string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, aws.ToString(s))
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time", cut(aws.ToString(s), 64))
	}
	return t.UTC(), nil
}

func statedAll(v any) any { return stated(reflect.ValueOf(v), [][]string{{}}) }

// asJSON is what a service stated, under the names that the SDK has for it.
func asJSON(v any) []byte {
	text, err := json.Marshal(statedAll(v))
	if err != nil { // a number that JSON has not
		return fmt.Appendf(nil, "%q", err.Error())
	}
	return text
}

// callers are the sessions, with our mark, of principals as findings write them: the
// role's id, a colon, the session's name. foreign says that there are callers and none
// is ours; a role's id alone does not say who acts under it.
func callers(principals ...string) (sessions []string, foreign bool) {
	for _, p := range principals {
		_, session, told := strings.Cut(p, ":")
		if strings.HasPrefix(session, canary.Marker+"-") {
			if !slices.Contains(sessions, session) {
				sessions = append(sessions, session)
			}
			continue
		}
		foreign = foreign || told || p != "" && !strings.HasPrefix(p, "AROA")
	}
	return sessions, foreign && len(sessions) == 0
}
