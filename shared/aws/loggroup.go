package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/auditcanary/auditcanary/shared/logstore"
)

// LogGroup asks one CloudWatch log group, event by event: what the group's subscriptions
// and metric filters make of them is another's affair. It only reads.
//
// Its identity needs logs:FilterLogEvents on the group and logs:DescribeLogGroups.
type LogGroup struct {
	client       *cloudwatchlogs.Client
	name, prefix string
}

var _ logstore.Index = (*LogGroup)(nil)

// NewLogGroup asks about the events of a group's streams whose names begin with prefix.
func NewLogGroup(client *cloudwatchlogs.Client, name, prefix string) *LogGroup {
	return &LogGroup{client: client, name: name, prefix: prefix}
}

const (
	// maxPattern is the longest filter pattern there may be, characters.
	maxPattern = 1024
	// maxFilterPages bounds one question. A page may be empty, and there be more.
	maxFilterPages = 1000
	// countPages bounds the look for a sign that anything comes to the group at all.
	countPages = 20
)

// Find implements logstore.Index.
func (g *LogGroup) Find(ctx context.Context, q logstore.Query) (logstore.Answer, error) {
	var out logstore.Answer
	seen := map[string]bool{}
	if len(q.Any) > 0 && len(q.All) > 0 {
		return out, errors.New("cloudwatch logs: a pattern cannot ask for some words and one of others")
	}
	for _, pattern := range patterns(q) {
		err := g.pages(ctx, q, pattern, maxFilterPages, func(page *cloudwatchlogs.FilterLogEventsOutput, asOf time.Time) bool {
			out.Asked++
			if out.AsOf.IsZero() {
				out.AsOf = asOf
			}
			for _, e := range page.Events {
				id := awssdk.ToString(e.EventId)
				if id != "" && seen[id] {
					continue
				}
				seen[id] = true
				if len(out.Entries) == q.Most {
					out.More = true
					return false
				}
				text := awssdk.ToString(e.Message)
				out.Bytes += int64(len(text))
				out.Entries = append(out.Entries, logstore.Entry{
					Text: []byte(text), Stream: g.name + "/" + awssdk.ToString(e.LogStreamName), ID: id,
					Time: millis(e.Timestamp), Arrived: millis(e.IngestionTime),
				})
			}
			return true
		})
		if err != nil || out.More {
			return out, err
		}
	}
	return out, nil
}

// patterns are the filter patterns of a query, each short enough.
func patterns(q logstore.Query) []string {
	if len(q.Any) == 0 {
		words := make([]string, len(q.All))
		for i, w := range q.All {
			words[i] = `"` + w + `"`
		}
		return []string{strings.Join(words, " ")}
	}
	var out []string
	for _, w := range q.Any {
		term := `?"` + w + `"`
		if n := len(out); n > 0 && len(out[n-1])+1+len(term) <= maxPattern {
			out[n-1] += " " + term
		} else {
			out = append(out, term)
		}
	}
	return out
}

// pages calls each for every page, until it says no. Its error means that there may be
// more.
func (g *LogGroup) pages(ctx context.Context, q logstore.Query, pattern string, most int, each func(*cloudwatchlogs.FilterLogEventsOutput, time.Time) bool) error {
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &g.name, StartTime: awssdk.Int64(q.From.UnixMilli())}
	if g.prefix != "" {
		in.LogStreamNamePrefix = &g.prefix
	}
	if pattern != "" {
		in.FilterPattern = &pattern
	}
	if !q.Until.IsZero() {
		in.EndTime = awssdk.Int64(q.Until.UnixMilli())
	}
	for range most {
		page, err := g.client.FilterLogEvents(ctx, in)
		if err != nil {
			return fmt.Errorf("FilterLogEvents %s: %s", g.name, shortened(err.Error()))
		}
		asOf := serverTime(page.ResultMetadata)
		if asOf.IsZero() {
			return fmt.Errorf("FilterLogEvents %s: the reply has no Date: the service's clock is not known", g.name)
		}
		if !each(page, asOf) || awssdk.ToString(page.NextToken) == "" {
			return nil
		}
		if awssdk.ToString(page.NextToken) == awssdk.ToString(in.NextToken) {
			return fmt.Errorf("FilterLogEvents %s: the next page is the same one again", g.name)
		}
		in.NextToken = page.NextToken
	}
	return fmt.Errorf("FilterLogEvents %s: more than %d pages", g.name, most)
}

func millis(ms *int64) time.Time {
	if ms == nil {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}

// Count implements logstore.Index: at least so many, those of the first page that holds
// any.
func (g *LogGroup) Count(ctx context.Context, q logstore.Query) (logstore.Census, error) {
	var out logstore.Census
	streams := map[string]bool{}
	n := 0
	err := g.pages(ctx, q, patterns(logstore.Query{All: q.All})[0], countPages, func(page *cloudwatchlogs.FilterLogEventsOutput, asOf time.Time) bool {
		out.Asked++
		n++
		if out.AsOf.IsZero() {
			out.AsOf = asOf
		}
		for _, e := range page.Events {
			at := millis(e.Timestamp)
			streams[awssdk.ToString(e.LogStreamName)] = true
			out.Entries++
			if out.First.IsZero() || at.Before(out.First) {
				out.First = at
			}
			if at.After(out.Last) {
				out.Last = at
			}
		}
		return out.Entries == 0 && n < countPages
	})
	out.Streams = len(streams)
	return out, err
}

// Keeping implements logstore.Index.
func (g *LogGroup) Keeping(ctx context.Context) (string, error) {
	const unlocked = "CloudWatch Logs has no lock that keeps an event: whoever may delete the log group or its streams, or shorten its retention, can take the record away"
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(g.client, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &g.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return unlocked, fmt.Errorf("DescribeLogGroups %s: %s", g.name, shortened(err.Error()))
		}
		for _, found := range page.LogGroups {
			if awssdk.ToString(found.LogGroupName) != g.name {
				continue
			}
			text := unlocked + "; by itself it drops none"
			if days := awssdk.ToInt32(found.RetentionInDays); days > 0 {
				text = fmt.Sprintf("%s; it drops events after %d days", unlocked, days)
			}
			if awssdk.ToBool(found.DeletionProtectionEnabled) {
				text += "; deletion protection is on"
			} else {
				text += "; deletion protection is off"
			}
			if found.DataProtectionStatus != "" {
				text += fmt.Sprintf("; a data protection policy (%s) may mask parts of records", found.DataProtectionStatus)
			}
			return text, nil
		}
	}
	return unlocked, fmt.Errorf("DescribeLogGroups %s: there is no such log group", g.name)
}
