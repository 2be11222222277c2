package main

import (
	"math"
	"sync"
	"time"
)

// clock starts at the real time and runs speed times as fast: at 0 it stands
// still. Whatever its speed, it can be put forward. It implements cloud.Clock and
// is safe for concurrent use.
type clock struct {
	real  func() time.Time
	start time.Time
	speed float64

	mu    sync.Mutex
	ahead time.Duration // by which it was put forward
}

func newClock(real func() time.Time, speed float64) *clock {
	return &clock{real: real, start: real(), speed: speed}
}

// Now is the sandbox's time, UTC.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *clock) now() time.Time {
	elapsed := c.real().Sub(c.start) // monotonic
	return c.start.Add(time.Duration(float64(elapsed) * c.speed)).Add(c.ahead).Round(0).UTC()
}

// Until is how long, in real time, until the sandbox's clock shows t; 0 if it has.
// A clock that stands still never shows it by itself.
func (c *clock) Until(t time.Time) time.Duration {
	d := t.Sub(c.Now())
	if d <= 0 {
		return 0
	}
	if c.speed == 0 {
		return math.MaxInt64
	}
	// Rounded up: whoever waits that long must find that it has.
	return time.Duration(float64(d)/c.speed) + 1
}

// putForward lets the clock show t at least. It is never put back.
func (c *clock) putForward(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := t.Sub(c.now()); d > 0 {
		c.ahead += d
	}
}
