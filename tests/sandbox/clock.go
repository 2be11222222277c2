package main

import "time"

// clock starts at the real time and runs speed times as fast. It implements
// cloud.Clock and is safe for concurrent use.
type clock struct {
	real  func() time.Time
	start time.Time
	speed float64
}

func newClock(real func() time.Time, speed float64) *clock {
	return &clock{real: real, start: real(), speed: speed}
}

// Now is the sandbox's time, UTC.
func (c *clock) Now() time.Time {
	elapsed := c.real().Sub(c.start) // monotonic
	return c.start.Add(time.Duration(float64(elapsed) * c.speed)).Round(0).UTC()
}

// Until is how long, in real time, until the sandbox's clock shows t; 0 if it has.
func (c *clock) Until(t time.Time) time.Duration {
	d := t.Sub(c.Now())
	if d <= 0 {
		return 0
	}
	// Rounded up: whoever waits that long must find that it has.
	return time.Duration(float64(d)/c.speed) + 1
}
