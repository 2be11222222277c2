package host

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/vitals"
)

// Whoever runs out of time on Lambda is told before he is ended: what is then still to be
// undone has its time, and the call's lines are written.
func TestACallOutOfTimeStillWritesItsLines(t *testing.T) {
	const given = 2 * time.Second
	p, log, emf := testPlatform(true, "")
	ctx, cancel := context.WithTimeout(t.Context(), given)
	defer cancel()
	h := p.onLambda("inject", func(ctx context.Context, _ json.RawMessage) (any, error) {
		<-ctx.Done()
		vitals.From(ctx).Set(vitals.RunsCompleted, 0)
		return nil, ctx.Err()
	})
	if _, err := h(ctx, nil); err == nil {
		t.Error("no error")
	}
	deadline, _ := ctx.Deadline()
	if left := time.Until(deadline); ctx.Err() != nil || left < given/20 {
		t.Errorf("%s were left before it would have been ended (%v)", left, ctx.Err())
	}
	if lines := linesOf(t, log); len(lines) != 2 || lines[1]["msg"] != "failed" || len(linesOf(t, emf)) != 1 {
		t.Errorf("%s\n%s", log, emf)
	}
}

func TestHowMuchTimeIsKept(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{15 * time.Minute: 45 * time.Second, time.Minute: 6 * time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), given)
		outer, _ := ctx.Deadline()
		_, _ = early(func(ctx context.Context, _ json.RawMessage) (any, error) {
			inner, _ := ctx.Deadline()
			if kept := outer.Sub(inner).Round(time.Second); kept != want {
				t.Errorf("of %s, %s are kept", given, kept)
			}
			return nil, nil
		})(ctx, nil)
		cancel()
	}
	_, _ = early(func(ctx context.Context, _ json.RawMessage) (any, error) {
		if _, ok := ctx.Deadline(); ok {
			t.Error("a deadline that nobody gave")
		}
		return nil, nil
	})(t.Context(), nil)
}
