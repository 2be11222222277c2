package trail

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// listedOnly is a store of which only the listing is asked.
type listedOnly struct {
	now     time.Time
	objects []Object
	opened  int
}

func (s *listedOnly) List(_ context.Context, prefix, startAfter string, each func(Object) error) (time.Time, error) {
	slices.SortFunc(s.objects, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	for _, o := range s.objects {
		if strings.HasPrefix(o.Key, prefix) && o.Key > startAfter {
			if err := each(o); err != nil {
				return s.now, err
			}
		}
	}
	return s.now, nil
}

func (s *listedOnly) Open(context.Context, string) (Opened, error) {
	s.opened++
	return Opened{}, errors.New("it is not to be read")
}

func (s *listedOnly) Name() string { return "archive" }

func TestNewestIsWhatArrivedSince(t *testing.T) {
	now := time.Date(2026, 11, 26, 0, 30, 0, 0, time.UTC)
	at := canary.Target{Provider: "aws", Account: "111122223333", Region: "us-east-1"}
	const log = "AWSLogs/o-x/111122223333/CloudTrail/us-east-1/2026/11/26/a.json.gz"
	const digest = "AWSLogs/o-x/111122223333/CloudTrail-Digest/us-east-1/2026/11/25/d.json.gz"
	const plain = "AWSLogs/111122223333/CloudTrail/us-east-1/2026/11/25/b.json.gz"
	for name, c := range map[string]struct {
		objects []Object
		want    string
	}{
		"nothing":                      {},
		"a log file":                   {[]Object{{Key: log, Size: 1, LastModified: now.Add(-time.Hour)}}, log},
		"a digest of the day before":   {[]Object{{Key: digest, Size: 1, LastModified: now.Add(-2 * time.Hour)}}, digest},
		"without the organisation":     {[]Object{{Key: plain, Size: 1, LastModified: now.Add(-2 * time.Hour)}}, plain},
		"the newer of two":             {[]Object{{Key: digest, Size: 1, LastModified: now.Add(-2 * time.Hour)}, {Key: log, Size: 1, LastModified: now.Add(-time.Hour)}}, log},
		"one that came too long ago":   {[]Object{{Key: log, Size: 1, LastModified: now.Add(-25 * time.Hour)}}, ""},
		"one that stands for a folder": {[]Object{{Key: log, LastModified: now}}, ""},
		"another account's":            {[]Object{{Key: strings.ReplaceAll(log, "111122223333", "444455556666"), Size: 1, LastModified: now}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &listedOnly{now: now, objects: c.objects}
			a := NewArchive(Config{Name: "central", OrganizationID: "o-x"}, s)
			got, found, err := a.Newest(t.Context(), at, now.Add(-24*time.Hour))
			if err != nil || found != (c.want != "") || got.Key != c.want || s.opened > 0 {
				t.Errorf("%q %v %v, want %q", got.Key, found, err, c.want)
			}
		})
	}
}

func TestFirstTellsWhatIsThereInstead(t *testing.T) {
	for name, c := range map[string]struct {
		cfg       Config
		key       string
		elsewhere string
		ok        bool
	}{
		"as configured":        {Config{OrganizationID: "o-x"}, "AWSLogs/o-x/1/CloudTrail/x", "AWSLogs/o-x/1/CloudTrail/x", true},
		"another organisation": {Config{OrganizationID: "o-x"}, "AWSLogs/o-y/1/CloudTrail/x", "AWSLogs/o-y/1/CloudTrail/x", false},
		"another prefix":       {Config{Prefix: "logs"}, "trail/AWSLogs/1/CloudTrail/x", "trail/AWSLogs/1/CloudTrail/x", false},
		"a prefix left out":    {Config{}, "trail/AWSLogs/1/CloudTrail/x", "trail/AWSLogs/1/CloudTrail/x", false},
		"nothing":              {Config{}, "", "", false},
		"its prefix":           {Config{Prefix: "logs/"}, "logs/AWSLogs/1/CloudTrail/x", "logs/AWSLogs/1/CloudTrail/x", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &listedOnly{now: time.Unix(1, 0)}
			if c.key != "" {
				s.objects = []Object{{Key: c.key, Size: 1}}
			}
			_, elsewhere, ok, err := NewArchive(c.cfg, s).First(t.Context())
			if err != nil || ok != c.ok || elsewhere != c.elsewhere {
				t.Errorf("%q %v %v", elsewhere, ok, err)
			}
		})
	}
}
