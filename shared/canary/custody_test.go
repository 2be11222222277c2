package canary

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// keptCanary is a canary whose record is sealed and held as it must be; tests break it.
func keptCanary() *one {
	o := proven(DoneAndUndone)
	at := Location{Store: "central", Bucket: "b", Key: "k", VersionID: "v1", ObjectSHA256: "aa"}
	o.seen.Sightings[0].At = at
	stored := o.seen.Sightings[0].Stored
	o.ev.Custody = []Custody{{
		Step: "create", At: at, Stored: stored, Looked: stored.Add(3 * time.Hour),
		Required: Keeping{Mode: Compliance, Days: 365, Digested: 2 * time.Hour, Overdue: 24 * time.Hour},
		Seal:     Seal{Digest: "d", LogSHA256: "aa", Head: "e"},
		Held: Held{
			Mode: Compliance, Until: stored.AddDate(0, 0, 365),
			Key:    &EncryptionKey{ARN: "arn:key", State: "Enabled", Origin: "AWS_KMS"},
			Bucket: BucketHeld{Versioning: "Enabled", DefaultMode: Compliance, DefaultDays: 365},
		},
	}}
	return o
}

func TestCustodyIsWeighed(t *testing.T) {
	type c = *Custody
	tests := []struct {
		claim   string
		breakIt func(c)
		check   Check
		status  Status
		detail  string
	}{
		{"all as it must be: sealed", func(c) {}, Sealed, Pass, ""},
		{"all as it must be: immutable", func(c) {}, Immutable, Pass, ""},
		{"a backfill digest seals, and it is said", func(c c) { c.Seal.Backfill = true }, Sealed, Pass, "backfill"},
		{"not in a digest, and none is due", func(c c) { c.Seal = Seal{}; c.Looked = c.Stored.Add(time.Hour) }, Sealed, NotRun, "due by 2026-11-22T12:05:00Z"},
		{"due and not in one: late", func(c c) { c.Seal = Seal{} }, Sealed, Late, "and no digest of that time is there; one was due by 2026-11-22T12:05:00Z"},
		{"due, and the digest of its time does not name it: late, and that is said", func(c c) { c.Seal = Seal{Covered: c.Looked} }, Sealed, Late, "although the digests of that time are there"},
		{"overdue: nobody signed for it", func(c c) { c.Seal = Seal{}; c.Looked = c.Stored.Add(25 * time.Hour) }, Sealed, Fail, "has not signed"},
		{"the digest gives another hash", func(c c) { c.Seal.LogSHA256 = "bb" }, Sealed, Fail, "other bytes"},
		{"the record's object was never hashed", func(c c) { c.At.ObjectSHA256 = "" }, Sealed, Inconclusive, "could not be hashed"},
		{"what is broken is broken, even where a digest names it", func(c c) { c.Seal.Broken = "signature does not match" }, Sealed, Fail, "signature does not match"},
		{"what could not be found out is no pass", func(c c) { c.Seal = Seal{Unknown: "access denied"} }, Sealed, Inconclusive, "access denied"},

		{"the version is gone", func(c c) { c.Held.Gone = true }, Immutable, Fail, "is gone"},
		{"no version at all", func(c c) { c.At.VersionID = "null" }, Immutable, Fail, "no version"},
		{"no retention", func(c c) { c.Held.Mode = "" }, Immutable, Fail, "no retention: whoever"},
		{"a legal hold is no retention", func(c c) { c.Held.Mode, c.Held.LegalHold = "", true }, Immutable, Fail, "may lift it"},
		{"an event hold gives no date", func(c c) { c.Held.Mode, c.Held.EventHold = "", true }, Immutable, Fail, "event hold"},
		{"governance where compliance is demanded", func(c c) { c.Held.Mode = Governance }, Immutable, Fail, "GOVERNANCE, demanded is COMPLIANCE"},
		{"governance where it is accepted", func(c c) {
			c.Held.Mode, c.Required.Mode, c.Held.Bucket.DefaultMode = Governance, Governance, Governance
		}, Immutable, Pass, ""},
		{"compliance is more than governance", func(c c) { c.Required.Mode = Governance }, Immutable, Pass, ""},
		{"a mode that nobody knows", func(c c) { c.Held.Mode, c.Required.Mode = "LOOSE", Governance }, Immutable, Fail, `"LOOSE" is not known`},
		{"retained too short", func(c c) { c.Held.Until = c.Stored.AddDate(0, 0, 30) }, Immutable, Fail, "retained until 2026-12-22"},
		{"retained a minute shorter", func(c c) { c.Held.Until = c.Held.Until.Add(-time.Minute) }, Immutable, Pass, ""},
		{"the retention has ended", func(c c) {
			c.Required.Days, c.Held.Until, c.Looked = 30, c.Stored.AddDate(0, 0, 30), c.Stored.AddDate(0, 0, 40)
		}, Immutable, Fail, "retention ended on"},
		{"versioning suspended", func(c c) { c.Held.Bucket.Versioning = "Suspended" }, Immutable, Fail, "versioning"},
		{"the default was taken away since", func(c c) { c.Held.Bucket.DefaultMode = "" }, Immutable, Fail, "gives new objects no retention"},
		{"the default was shortened since", func(c c) { c.Held.Bucket.DefaultDays = 1 }, Immutable, Fail, "gives new objects COMPLIANCE for 1 days"},
		{"the default was weakened since", func(c c) { c.Held.Bucket.DefaultMode = Governance }, Immutable, Fail, "gives new objects GOVERNANCE"},
		{"a lifecycle rule hides it too soon", func(c c) { c.Held.Bucket.Expiring = []Expiry{{"tidy", 30}} }, Immutable, Fail, `"tidy" hides`},
		{"a lifecycle rule hides it late enough", func(c c) { c.Held.Bucket.Expiring = []Expiry{{"tidy", 400}} }, Immutable, Pass, ""},
		{"the key will be deleted", func(c c) { c.Held.Key.Deletion = c.Looked }, Immutable, Fail, "will be deleted"},
		{"the key is disabled", func(c c) { c.Held.Key.State = "Disabled" }, Immutable, Fail, "is Disabled"},
		{"the key's material was imported", func(c c) { c.Held.Key.Origin = "EXTERNAL" }, Immutable, Fail, "EXTERNAL"},
		{"no key of the customer's", func(c c) { c.Held.Key = nil }, Immutable, Pass, ""},
		{"the retention could not be read", func(c c) { c.Held.Mode, c.Held.Unread = "", []string{"retention: denied"} }, Immutable, Inconclusive, "retention: denied"},
		{"the default could not be read", func(c c) {
			c.Held.Bucket.DefaultMode, c.Held.Unread = "", []string{"default retention: denied"}
		}, Immutable, Inconclusive, "default retention: denied"},
		{"versioning could not be read", func(c c) { c.Held.Bucket.Versioning, c.Held.Unread = "", []string{"versioning: denied"} }, Immutable, Inconclusive, "denied"},
		{"the lifecycle could not be read", func(c c) { c.Held.Unread = []string{"lifecycle: denied"} }, Immutable, Inconclusive, "denied"},
		{"the key could not be read", func(c c) { c.Held.Key.State, c.Held.Unread = "", []string{"key: denied"} }, Immutable, Inconclusive, "denied"},
		{"a weakness that is known counts beside what could not be read", func(c c) {
			c.Held.Bucket.DefaultMode, c.Held.Unread = "", []string{"lifecycle: denied"}
		}, Immutable, Fail, "no retention"},
		{"nothing is demanded", func(c c) { c.Required.Mode = "" }, Immutable, NotRun, "demands no retention"},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			o := keptCanary()
			tt.breakIt(&o.ev.Custody[0])
			o.seen.Sightings[0].At = o.ev.Custody[0].At
			v := o.judge()
			a := v.Checks[tt.check]
			if a.Status != tt.status || !strings.Contains(a.Detail, tt.detail) {
				t.Errorf("%s: %q, want %s: %q", a.Status, a.Detail, tt.status, tt.detail)
			}
			if err := localised(a); err != nil {
				t.Error(err)
			}
			if want := map[Status]Status{Pass: Pass, NotRun: Pass}[tt.status]; want == "" && v.Overall() != tt.status || want != "" && v.Overall() != want {
				t.Errorf("overall %s", v.Overall())
			}
		})
	}
}

func TestCustodyIsOfTheVeryRecord(t *testing.T) {
	o := keptCanary()
	o.ev.Custody[0].At.VersionID = "v2"
	v := o.judge()
	if s := v.Checks[Sealed]; s.Status != NotRun || !strings.Contains(s.Detail, "nobody has looked") {
		t.Errorf("custody of another version counts: %+v", s)
	}
	if v.Overall() != Pass {
		t.Errorf("what nobody looked at is no failure: %s", v.Overall())
	}
}

func TestTheLastLookCounts(t *testing.T) {
	o := keptCanary()
	awaited := o.ev.Custody[0]
	awaited.Seal, awaited.Looked = Seal{}, awaited.Stored
	o.ev.Custody = append([]Custody{awaited}, o.ev.Custody...)
	if s := o.judge().Checks[Sealed]; s.Status != Pass {
		t.Errorf("%+v", s)
	}
	o.ev.Custody[0], o.ev.Custody[1] = o.ev.Custody[1], o.ev.Custody[0]
	if s := o.judge().Checks[Sealed]; s.Status != NotRun {
		t.Errorf("%+v", s)
	}
}

func TestTheWorstStepSpeaksForTheCustody(t *testing.T) {
	o := threeSteps()
	v := o.judge()
	if len(v.Records) != 3 {
		t.Fatalf("%d records", len(v.Records))
	}
	good := keptCanary().ev.Custody[0]
	for i, rec := range v.Records {
		c := good
		c.Step, c.At = rec.Step, rec.At
		c.At.ObjectSHA256, c.At.VersionID = "aa", "v1"
		v.Records[i].At = c.At
		o.ev.Custody = append(o.ev.Custody, c)
	}
	if Protect(&v, o.ev); v.Checks[Sealed].Status != Pass || v.Checks[Immutable].Status != Pass {
		t.Fatalf("%+v", v.Checks)
	}
	o.ev.Custody[1].Seal.Broken = "gone"
	o.ev.Custody[2].Held.Mode = ""
	Protect(&v, o.ev)
	for check, want := range map[Check]string{Sealed: v.Records[1].Step, Immutable: v.Records[2].Step} {
		if a := v.Checks[check]; a.Status != Fail || a.Step != want {
			t.Errorf("%s: %s", check, fmt.Sprint(a))
		}
	}
}

func TestWhatDidNotArriveIsNotKept(t *testing.T) {
	o := threeSteps()
	v := o.judge()
	for i, rec := range v.Records {
		c := keptCanary().ev.Custody[0]
		c.Step, c.At = rec.Step, rec.At
		c.At.ObjectSHA256, c.At.VersionID = "aa", "v1"
		v.Records[i].At = c.At
		o.ev.Custody = append(o.ev.Custody, c)
	}
	v.Records = v.Records[:2]
	v.Checks[Surfaced] = Answer{Status: Fail}
	Protect(&v, o.ev)
	for _, check := range []Check{Sealed, Immutable} {
		if a := v.Checks[check]; a.Status != NotRun || !strings.Contains(a.Detail, "not every record") {
			t.Errorf("%s: %+v", check, a)
		}
	}
	if !Settled(v, o.ev) {
		t.Error("of what was found there is nothing more to learn")
	}
	o.ev.Custody[1].Seal = Seal{}
	if Settled(v, o.ev) {
		t.Error("a record awaits its digest")
	}
}
