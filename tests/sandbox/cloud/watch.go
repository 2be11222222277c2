package cloud

import (
	"strings"
	"time"
)

// watched is what CloudWatch, GuardDuty and Security Hub make of the records that
// they hear of. It is kept apart from the world: nobody left it behind.
type watched struct {
	until time.Time // up to here alarms are evaluated

	metrics  map[metric]map[int64]sample // by minute
	last     time.Time                   // minute of the newest sample
	alarms   map[string]*alarmState      // by ARN
	findings map[place]map[string]any    // GuardDuty's, by id
	hub      map[place]map[string]any    // Security Hub's, by id
}

type place struct{ account, region string }

// How long it takes from the call: CloudTrail delivers to a log group within about
// five minutes on average; GuardDuty and Security Hub take minutes too.
const (
	logGroupDelay = 5 * time.Minute
	findingDelay  = 5 * time.Minute
	hubDelay      = time.Minute
)

// watch hears one record.
func (c *Cloud) watch(account, region string, rec map[string]any) {
	if rec == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Clock.Now().UTC()
	c.count(account, region, rec, now)
	c.detect(place{account, region}, rec, now)
}

// alertLater makes an alert of a record at a time: alert is the metric filter's name
// or the finding's type, target the service that shows it. This is the one place where
// such an alert goes wrong: faults at "alert" drop or delay it.
func (c *Cloud) alertLater(target, alert string, in place, rec map[string]any, at time.Time, do func(at time.Time)) {
	if c.faults != nil {
		for _, a := range c.faults.Fire("alert", map[string]any{
			"alert": alert, "bus": "", "account": in.account, "region": in.region, "target": target, "message": "",
			"event": map[string]any{"detail-type": "AWS API Call via CloudTrail", "source": strings.Replace(field(rec, "eventSource"), ".amazonaws.com", "", 1), "account": in.account, "region": in.region, "detail": rec},
		}) {
			if a.Do.Drop {
				return
			}
			at = at.Add(a.Do.Delay)
		}
	}
	c.dueAt(at, do)
}

// dueAt lets something happen that alarms look at, after they have looked at all before it.
func (c *Cloud) dueAt(at time.Time, do func(at time.Time)) {
	c.later.plan(at, func(at time.Time) {
		c.evaluateAlarms(at)
		do(at)
	})
}

// catchUp lets happen, in order, what has fallen due by now.
func (c *Cloud) catchUp() {
	now := c.opts.Clock.Now().UTC()
	c.later.catchUp(now)
	c.evaluateAlarms(now)
	c.later.catchUp(now) // what alarms told
}
