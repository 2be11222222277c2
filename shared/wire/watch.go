package wire

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/auditcanary/auditcanary/shared/aws"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/packet"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/ticket"
	"github.com/auditcanary/auditcanary/shared/vitals"
)

// What a deployed function tells of itself. Each of these follows from what the function
// has in hand anyway, and does nothing where nobody watches (at a terminal).

// tellAnyway tells what came of the ledger in a call that ends without an answer: what it
// has decided by then is told by no other call.
func tellAnyway(ctx context.Context, r *run.Run) {
	call := vitals.From(ctx)
	if call == nil {
		return
	}
	if _, told := call.Numbers()[vitals.RunsCompleted]; told {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellIn)
	defer cancel()
	state, _, err := run.Fold(ctx, r.Log)
	if err != nil {
		call.Log.WarnContext(ctx, "what came of this call is not told: the ledger could not be read", "error", err)
		return
	}
	tellState(ctx, state, r.Clock())
}

// tellIn is for how long at most the ledger is read for it: the call may be out of time.
const tellIn = 20 * time.Second

// tellState tells what came of the ledger in this call, and how it stands at its end.
func tellState(ctx context.Context, state *run.State, now time.Time) {
	call := vitals.From(ctx)
	if call == nil {
		return
	}
	p := state.Since(call.Began, now)
	tellProgress(call, p)
	if !p.LastRun.IsZero() {
		call.Set(vitals.LastRunAge, now.Sub(p.LastRun).Seconds())
	}
	call.Set(vitals.CanariesWaiting, float64(p.Waiting))
	call.Set(vitals.CanariesUnsealed, float64(p.Unsealed))
	call.Set(vitals.ClockSkew, p.Skew.Seconds())
	tellLedger(ctx, state.Size, state.Newest, now)
}

// tellProgress tells what counts of a call. Where it is about several ledgers, their
// counts add up.
func tellProgress(call *vitals.Call, of ...run.Progressed) {
	var latencies []float64
	for _, p := range of {
		call.Add(vitals.RunsCompleted, float64(p.Completed))
		for status, name := range map[canary.Status]vitals.Name{
			canary.Pass: vitals.CanariesProven, canary.Late: vitals.CanariesLate, canary.Fail: vitals.CanariesFailed,
			canary.Inconclusive: vitals.CanariesInconclusive, canary.NotRun: vitals.CanariesNotRun, canary.Excepted: vitals.CanariesExcepted,
		} {
			call.Add(name, float64(p.Verdicts[status]))
		}
		call.Add(vitals.ForgedRecords, float64(p.Forged))
		latencies = append(latencies, p.Latencies...)
	}
	call.Set(vitals.SurfacedLatency, latencies...)
}

// tellLedger tells how the ledger stands at the end of the call.
func tellLedger(ctx context.Context, size int64, newest, now time.Time) {
	call := vitals.From(ctx)
	call.Set(vitals.LedgerSize, float64(size))
	if !newest.IsZero() {
		call.Set(vitals.LedgerHeadAge, max(0, now.Sub(newest).Seconds()))
	}
}

// tellWhole tells whether a run was completed in every cell. A sum over cells would not
// say so: one that goes on may make up for others that do not.
func tellWhole(ctx context.Context, w Whole) {
	n := 0.0
	if w.Completed() {
		n = 1
	}
	vitals.From(ctx).Set(vitals.RunsWhole, n)
}

// tellSweep tells of a sweep that came to its end.
func tellSweep(ctx context.Context, res run.SweepResult) {
	call := vitals.From(ctx)
	call.Set(vitals.SweepsCompleted, 1)
	call.Set(vitals.Leftovers, float64(len(res.Left)))
	call.Set(vitals.SweepProblems, float64(len(res.Problems)))
}

// tellTickets tells what the report step could not do.
func tellTickets(ctx context.Context, res ticket.Result, now time.Time) {
	call, tickets, posts := vitals.From(ctx), 0, 0
	for _, d := range res.Acts {
		if d.Err != "" {
			tickets++
		}
	}
	for _, p := range res.Posts {
		if p.Err != "" {
			posts++
		}
	}
	call.Set(vitals.TicketsFailed, float64(tickets))
	call.Set(vitals.PostsFailed, float64(posts))
	tellLedger(ctx, res.LedgerSize, res.LedgerNewest, now)
}

// tellPacket tells of the packet of a period, if there was anything to build it of.
func tellPacket(ctx context.Context, err error) {
	call := vitals.From(ctx)
	switch {
	case err == nil:
		call.Set(vitals.PacketsBuilt, 1)
	case errors.Is(err, packet.ErrEmpty):
		call.Set(vitals.PacketsBuilt, 0)
	}
}

// tellError tells of an error that ended the call, as far as it has a number.
func tellError(ctx context.Context, err error) {
	if errors.Is(err, aws.ErrNotSigned) {
		vitals.From(ctx).Add(vitals.LedgerSignErrors, 1)
	}
}

// progressOf logs what happens in a call: at level info where a step is done, else debug.
// nil where nobody watches.
func progressOf(ctx context.Context) func(run.Progress) {
	call := vitals.From(ctx)
	if call == nil {
		return nil
	}
	return func(p run.Progress) {
		level := slog.LevelDebug
		if p.Done >= p.Total {
			level = slog.LevelInfo
		}
		call.Log.Log(ctx, level, p.Message, "step", p.Step, "done", p.Done, "total", p.Total)
	}
}
