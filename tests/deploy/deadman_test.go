package deploy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/vitals"
)

// at is when the alarms' tests begin.
var at = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)

// A CloudWatch of our own, as small as these alarms need it: metrics from lines of the
// embedded metric format, alarms with the meaning that missing data has there.

// cloudwatch has the samples of each metric, by namespace and name; and by state machine.
type cloudwatch map[string][]sample

type sample struct {
	at    time.Time
	value float64
}

// take reads a line as CloudWatch Logs does: what is not in the format makes no metric. (That
// ours are to the letter is tested in shared/vitals.)
func (cw cloudwatch) take(line []byte) {
	var doc struct {
		AWS struct {
			Timestamp int64
			Metrics   []struct {
				Namespace string
				Metrics   []struct{ Name string }
			} `json:"CloudWatchMetrics"`
		} `json:"_aws"`
	}
	root := map[string]any{}
	if json.Unmarshal(line, &doc) != nil || json.Unmarshal(line, &root) != nil {
		return
	}
	for _, d := range doc.AWS.Metrics {
		for _, m := range d.Metrics {
			values, several := root[m.Name].([]any)
			if !several {
				values = []any{root[m.Name]}
			}
			for _, v := range values {
				f, _ := v.(float64)
				key := d.Namespace + " " + m.Name
				cw[key] = append(cw[key], sample{time.UnixMilli(doc.AWS.Timestamp).UTC(), f})
			}
		}
	}
}

// metricAlarm is an alarm on one metric, or on several multiplied, as the file has it.
type metricAlarm struct {
	metrics           []string
	stat, op, missing string
	threshold         float64
	period            time.Duration
	n, m              int
	fill              bool // FILL(metric, 0) of each
}

// keyOf is under what the samples of a metric are.
func keyOf(metric map[string]any) string {
	key := fmt.Sprint(metric["Namespace"], " ", metric["MetricName"])
	for _, d := range metric["Dimensions"].([]any) {
		if d := d.(map[string]any); d["Name"] == "StateMachineArn" {
			arn := fmt.Sprint(d["Value"])
			key += " " + arn[strings.LastIndexByte(arn, ':')+1:]
		}
	}
	return key
}

func alarmOf(t *testing.T, a map[string]any) metricAlarm {
	t.Helper()
	number := func(v any) float64 {
		f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	out := metricAlarm{op: fmt.Sprint(a["ComparisonOperator"]), missing: fmt.Sprint(a["TreatMissingData"]), threshold: number(a["Threshold"]), n: int(number(a["EvaluationPeriods"])), m: int(number(a["DatapointsToAlarm"]))}
	if a["MetricName"] != nil {
		out.metrics, out.stat, out.period = []string{keyOf(a)}, fmt.Sprint(a["Statistic"]), time.Duration(number(a["Period"]))*time.Second
		return out
	}
	var filled []string
	for _, m := range a["Metrics"].([]any) {
		m := m.(map[string]any)
		stat, ok := m["MetricStat"].(map[string]any)
		if !ok {
			out.fill = m["Expression"] == strings.Join(filled, " * ")
			continue
		}
		filled = append(filled, fmt.Sprintf("FILL(%s, 0)", m["Id"]))
		out.metrics = append(out.metrics, keyOf(stat["Metric"].(map[string]any)))
		out.stat, out.period = fmt.Sprint(stat["Stat"]), time.Duration(number(stat["Period"]))*time.Second
	}
	return out
}

// points are the last so many whole periods, oldest first; nil is a missing one.
func (cw cloudwatch) points(a metricAlarm, now time.Time, most int) []*float64 {
	out := cw.pointsOf(a, a.metrics[0], now, most)
	for _, metric := range a.metrics[1:] {
		for i, p := range cw.pointsOf(a, metric, now, most) {
			if out[i] == nil || p == nil {
				out[i] = nil
			} else {
				*out[i] *= *p
			}
		}
	}
	return out
}

func (cw cloudwatch) pointsOf(a metricAlarm, metric string, now time.Time, most int) []*float64 {
	out := make([]*float64, most)
	end, there := now.Truncate(a.period), false
	for i := range out {
		from := end.Add(-time.Duration(most-i) * a.period)
		for _, s := range cw[metric] {
			if s.at.Before(from) || !s.at.Before(from.Add(a.period)) {
				continue
			}
			there = true
			v := s.value
			if out[i] != nil && a.stat == "Sum" {
				v += *out[i]
			} else if out[i] != nil {
				v = max(v, *out[i])
			}
			out[i] = &v
		}
	}
	if a.fill && there { // where there is nothing at all, there is nothing to fill
		for i, p := range out {
			if p == nil {
				out[i] = new(float64)
			}
		}
	}
	return out
}

// evaluate follows the user guide ("How alarm state is evaluated when data is missing"):
// more periods are looked at than are evaluated (how many is not said); if enough of them
// are there, the newest of these count and what is missing is passed over; else what is
// missing is taken for what the alarm says.
func evaluate(a metricAlarm, points []*float64, was string) string {
	var there []float64
	for _, p := range points {
		if p != nil {
			there = append(there, *p)
		}
	}
	breaching := 0
	for _, v := range there[max(0, len(there)-a.n):] {
		if a.op == "LessThanThreshold" && v < a.threshold || a.op == "GreaterThanThreshold" && v > a.threshold {
			breaching++
		}
	}
	short := max(0, a.n-len(there))
	switch {
	case len(there) == 0 && a.missing == "ignore":
		return was
	case len(there) == 0 && a.missing == "missing":
		return "INSUFFICIENT_DATA"
	case a.missing == "breaching":
		breaching += short
	}
	if breaching >= a.m {
		return "ALARM"
	}
	return "OK"
}

// TestMissingDataMeansWhatItMeansInCloudWatch: the table of the user guide, three of
// three datapoints (X breaches, 0 does not).
func TestMissingDataMeansWhatItMeansInCloudWatch(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"0 - X - X": {"missing": "OK", "ignore": "OK", "breaching": "OK", "notBreaching": "OK"},
		"- - - - 0": {"missing": "OK", "ignore": "OK", "breaching": "OK", "notBreaching": "OK"},
		"- - - - -": {"missing": "INSUFFICIENT_DATA", "ignore": "as it was", "breaching": "ALARM", "notBreaching": "OK"},
		"0 X X - X": {"missing": "ALARM", "ignore": "ALARM", "breaching": "ALARM", "notBreaching": "ALARM"},
		"- - X - -": {"breaching": "ALARM", "notBreaching": "OK"},
	} {
		var points []*float64
		for f := range strings.FieldsSeq(text) {
			v := map[string]float64{"0": 5, "X": 0}[f]
			if f == "-" {
				points = append(points, nil)
			} else {
				points = append(points, &v)
			}
		}
		for missing, state := range want {
			a := metricAlarm{op: "LessThanThreshold", threshold: 1, n: 3, m: 3, missing: missing}
			if got := evaluate(a, points, "as it was"); got != state {
				t.Errorf("%s, missing data are %s: %s, want %s", text, missing, got, state)
			}
		}
	}
}

// watchAlarm reads one alarm of the file, with other values for some parameters.
func watchAlarm(t *testing.T, id string, parameters map[string]string) metricAlarm {
	t.Helper()
	a, ok := alarms(watch(t, watchFile, parameters))[id]
	if !ok {
		t.Fatalf("no alarm %s", id)
	}
	return alarmOf(t, a)
}

// rang is for how long after a moment an alarm first was in ALARM, looking every minute
// until an end; -1: never.
func rang(cw cloudwatch, a metricAlarm, after, until time.Time, most int) time.Duration {
	state := "OK"
	for now := after; now.Before(until); now = now.Add(time.Minute) {
		if state = evaluate(a, cw.points(a, now, most), state); state == "ALARM" {
			return now.Sub(after)
		}
	}
	return -1
}

// TestTheDeadMansSwitch: runs go on, and it is silent; they stop, in whatever way, and
// it rings within three periods, however far back CloudWatch looks.
func TestTheDeadMansSwitch(t *testing.T) {
	start, stop, end := at, at.Add(24*time.Hour), at.Add(48*time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	// an hour's lines: each living cell tells of its looks, and of its run; when they are
	// added up, the whole is told, and it is whole if every cell lives.
	hour := func(t *testing.T, cw cloudwatch, begin time.Time, cells, living int, spoil func([]byte) []byte) {
		t.Helper()
		tell := func(minute int, name vitals.Name, n float64) {
			call := vitals.NewCall(begin, nil)
			call.Set(name, n)
			lines, err := vitals.EMF(begin.Add(time.Duration(minute)*time.Minute), "dev", nil, call.Numbers())
			if err != nil || len(lines) != 1 {
				t.Fatal(err)
			}
			cw.take(spoil(lines[0]))
		}
		for range living {
			tell(random.IntN(20), vitals.RunsCompleted, 0)
			tell(20+random.IntN(10), vitals.RunsCompleted, 1)
		}
		n := 0.0
		if living == cells {
			n = 1
		}
		tell(30+random.IntN(29), vitals.RunsWhole, n) // it takes its time, never the same
	}
	whole := func(line []byte) []byte { return line }
	nothing := func(*testing.T, cloudwatch, time.Time) {}
	for name, tc := range map[string]struct {
		cells int
		then  func(*testing.T, cloudwatch, time.Time)
		rings bool
	}{
		"runs go on":                          {1, func(t *testing.T, cw cloudwatch, h time.Time) { hour(t, cw, h, 1, 1, whole) }, false},
		"nobody tells anything":               {1, nothing, true},
		"functions run, and complete nothing": {1, func(t *testing.T, cw cloudwatch, h time.Time) { hour(t, cw, h, 1, 0, whole) }, true},
		"the lines are in no format": {1, func(t *testing.T, cw cloudwatch, h time.Time) {
			hour(t, cw, h, 1, 1, func(line []byte) []byte { return append([]byte("INFO "), line...) })
		}, true},
		"the namespace is another": {1, func(t *testing.T, cw cloudwatch, h time.Time) {
			hour(t, cw, h, 1, 1, func(line []byte) []byte {
				return []byte(strings.Replace(string(line), `"Namespace":"auditcanary"`, `"Namespace":"canary"`, 1))
			})
		}, true},
		"one cell of three stops": {3, func(t *testing.T, cw cloudwatch, h time.Time) { hour(t, cw, h, 3, 2, whole) }, true},
		"three cells go on":       {3, func(t *testing.T, cw cloudwatch, h time.Time) { hour(t, cw, h, 3, 3, whole) }, false},
		"one cell of ten lives, and completes ten runs an hour": {10, func(t *testing.T, cw cloudwatch, h time.Time) {
			for range 10 {
				hour(t, cw, h, 10, 1, whole)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := watchAlarm(t, "RunMissing", nil)
			cw := cloudwatch{}
			for h := start; h.Before(end); h = h.Add(time.Hour) {
				if !h.Before(stop) {
					tc.then(t, cw, h)
					continue
				}
				hour(t, cw, h, tc.cells, tc.cells, whole)
			}
			for _, most := range []int{2, 3, 5, 7} { // how far back it looks is not said
				if d := rang(cw, a, start.Add(time.Duration(most)*time.Hour), stop, most); d >= 0 {
					t.Errorf("looking at %d periods it rings while runs go on, after %s", most, d)
				}
				d := rang(cw, a, stop, end, most)
				if tc.rings != (d >= 0) || d > 3*time.Hour {
					t.Errorf("looking at %d periods it rings after %s; should it: %t", most, d, tc.rings)
				}
			}
		})
	}
	t.Run("without FILL it would be late", func(t *testing.T) {
		a := watchAlarm(t, "RunMissing", nil)
		a.fill = false
		cw := cloudwatch{}
		for h := start; h.Before(stop); h = h.Add(time.Hour) {
			hour(t, cw, h, 1, 1, whole)
		}
		if d := rang(cw, a, stop, end, 7); d <= 3*time.Hour {
			t.Errorf("it rings after %s: is FILL of use?", d)
		}
	})
	t.Run("taken for missing, it would never ring", func(t *testing.T) {
		a := watchAlarm(t, "RunMissing", nil)
		a.fill, a.missing = false, "notBreaching"
		if d := rang(cloudwatch{}, a, stop, end, 5); d >= 0 {
			t.Errorf("it rings after %s", d)
		}
	})
}

// TestNoCellHidesBehindAnother: sweeps and packets of every cell, or it rings within three
// periods, however many there are of the others.
func TestNoCellHidesBehindAnother(t *testing.T) {
	const cells = 10
	for id, tc := range map[string]struct {
		name    vitals.Name
		machine string
	}{
		"SweepMissing":  {vitals.SweepsCompleted, "sweep"},
		"PacketMissing": {vitals.PacketsBuilt, "packet"},
	} {
		a := watchAlarm(t, id, map[string]string{"SweepEvery": "3600", "PacketEvery": "3600"})
		for claim, then := range map[string]struct {
			living, times int  // cells that tell, how often in a period
			machine       bool // its executions come to an end
			n             float64
			rings         bool
		}{
			"every cell":                           {cells, 1, true, 1, false},
			"every cell, and once more":            {cells, 2, true, 1, false},
			"one silent cell":                      {cells - 1, 1, true, 1, true},
			"one silent cell, the others go twice": {cells - 1, 2, true, 1, true},
			"nobody":                               {0, 0, true, 1, true},
			"nobody, not even the machine":         {0, 0, false, 1, true},
			"functions without a machine":          {cells, 2, false, 1, true},
			"there is nothing in any":              {cells, 1, true, 0, id == "PacketMissing"},
		} {
			cw := cloudwatch{}
			stop, end := at.Add(10*a.period), at.Add(20*a.period)
			for now := at; now.Before(end); now = now.Add(a.period) {
				living, times, runs, n := cells, 1, true, 1.0
				if !now.Before(stop) {
					living, times, runs, n = then.living, then.times, then.machine, then.n
				}
				for i := range living * times {
					lines, err := vitals.EMF(now.Add(time.Duration(i)*time.Second), "dev", nil, map[vitals.Name][]float64{tc.name: {n}})
					if err != nil {
						t.Fatal(err)
					}
					cw.take(lines[0])
				}
				for i := range times { // it fails unless every cell comes to its end
					if key := "AWS/States ExecutionsSucceeded auditcanary-dev-" + tc.machine; runs && living == cells {
						cw[key] = append(cw[key], sample{now.Add(time.Minute + time.Duration(i)*time.Second), 1})
					}
				}
			}
			for _, most := range []int{2, 3, 5} {
				if d := rang(cw, a, at.Add(time.Duration(most+1)*a.period), stop, most); d >= 0 {
					t.Errorf("%s, looking at %d periods: it rings after %s while all is well", id, most, d)
				}
				if d := rang(cw, a, stop, end, most); then.rings != (d >= 0) || d > 3*a.period {
					t.Errorf("%s, %s, looking at %d periods: it rings after %s; should it: %t", id, claim, most, d, then.rings)
				}
			}
		}
	}
}

// TestAlarmsOnWhatWasTold: each of the others rings on its number, and not without it.
func TestAlarmsOnWhatWasTold(t *testing.T) {
	for id, tc := range map[string]struct {
		name      vitals.Name
		good, bad float64
	}{
		"RunOld":          {vitals.LastRunAge, 7000, 20000},
		"CanariesFailed":  {vitals.CanariesFailed, 0, 1},
		"CanariesUnknown": {vitals.CanariesInconclusive, 0, 2},
		"CanariesNotRun":  {vitals.CanariesNotRun, 0, 1},
		"ForgedRecords":   {vitals.ForgedRecords, 0, 1},
		"Leftovers":       {vitals.Leftovers, 0, 1},
		"SweepProblems":   {vitals.SweepProblems, 0, 1},
		"LedgerOld":       {vitals.LedgerHeadAge, 3600, 8000},
		"LedgerNotSigned": {vitals.LedgerSignErrors, 0, 1},
		"ClocksDiffer":    {vitals.ClockSkew, 1, 120},
		"TicketsFailed":   {vitals.TicketsFailed, 0, 1},
		"PostsFailed":     {vitals.PostsFailed, 0, 3},
		"PoisonMessages":  {vitals.PoisonMessages, 0, 1},
	} {
		a := watchAlarm(t, id, nil)
		for value, want := range map[float64]string{tc.good: "OK", tc.bad: "ALARM"} {
			cw := cloudwatch{}
			for i := range 12 {
				lines, err := vitals.EMF(at.Add(time.Duration(i)*a.period), "dev", nil, map[vitals.Name][]float64{tc.name: {value}})
				if err != nil {
					t.Fatal(err)
				}
				cw.take(lines[0])
			}
			if got := evaluate(a, cw.points(a, at.Add(12*a.period), 5), "OK"); got != want {
				t.Errorf("%s: %s is %v: %s, want %s", id, tc.name, value, got, want)
			}
		}
		if got := evaluate(a, cloudwatch{}.points(a, at, 5), "OK"); got != "OK" {
			t.Errorf("%s: nothing was told: %s", id, got)
		}
	}
}
