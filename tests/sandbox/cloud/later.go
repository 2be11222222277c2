package cloud

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"math/rand/v2"
	"time"
)

// later is what will happen by itself, each at its time by the sandbox's clock.
// Nothing waits for it in the background: before anybody can look, whatever is due
// happens, in the order of its time, and each is told its own time. Nobody can tell
// the difference. All of it is under the lock of the world.
type later struct {
	pending happenings
	n       int
	// rng draws how long things take: the same calls in the same order give the same times.
	rng *rand.Rand
	// stirred is closed, and made anew, when something has changed that a call waits for.
	stirred chan struct{}
}

type happening struct {
	at time.Time
	n  int // of equal times the one planned first
	do func(at time.Time)
}

// plan lets something happen at a time.
func (l *later) plan(at time.Time, do func(at time.Time)) {
	l.n++
	heap.Push(&l.pending, happening{at: at, n: l.n, do: do})
}

// happenings are a heap: of very many the soonest is first.
type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	return cmp.Or(h[i].at.Compare(h[j].at), cmp.Compare(h[i].n, h[j].n)) < 0
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = happening{}
	*h = (*h)[:len(*h)-1]
	return last
}

// catchUp lets happen what is due by a time. What that plans may be due too.
func (l *later) catchUp(now time.Time) {
	for len(l.pending) > 0 && !l.pending[0].at.After(now) {
		h := heap.Pop(&l.pending).(happening)
		h.do(h.at)
		l.stir()
	}
}

// next is when something happens again, zero if nothing is planned.
func (l *later) next() time.Time {
	if len(l.pending) == 0 {
		return time.Time{}
	}
	return l.pending[0].at
}

// stir wakes the calls that wait for something to change.
func (l *later) stir() {
	if l.stirred != nil {
		close(l.stirred)
		l.stirred = nil
	}
}

// wait returns what is closed when something has changed.
func (l *later) wait() <-chan struct{} {
	if l.stirred == nil {
		l.stirred = make(chan struct{})
	}
	return l.stirred
}

// between draws a time from least to most.
func (l *later) between(least, most time.Duration) time.Duration {
	if l.rng == nil {
		l.rng = rand.New(rand.NewPCG(1, 0))
	}
	return least + time.Duration(l.rng.Int64N(int64(most-least)+1))
}

// CatchUp lets happen what is due by the clock, and returns when something happens
// again, zero if nothing is planned.
func (c *Cloud) CatchUp() (next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp()
	return c.later.next()
}

// await waits until something has changed that a call waits for, until the clock
// shows a time, or until the caller has gone. It reports whether there is more to
// wait for: a clock that stands still shows nothing new by itself.
func (c *Cloud) await(ctx context.Context, until time.Time) (more bool) {
	c.mu.Lock()
	stirred, soonest := c.later.wait(), until
	if next := c.later.next(); !next.IsZero() && next.Before(until) {
		soonest = next
	}
	c.mu.Unlock()
	d := c.opts.Clock.Until(soonest)
	if d == math.MaxInt64 {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-stirred:
		return true
	case <-t.C:
		return soonest.Before(until)
	case <-ctx.Done():
		return false
	}
}
