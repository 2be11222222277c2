package chains

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/trail"
)

// why the AWS CLI is not asked.
const (
	notAsked    = "it has no such question"
	notInBucket = "the endpoint cannot refuse it"
	slowBucket  = "it asks for the region of the bucket, and there is no such bucket"
	organizes   = "it finds organisation trails only through the trail itself"
	newer       = "Debian's version knows no backfill digests"
	sharedKeys  = "all cases share one list of keys"
)

// flip changes one byte.
func flip(b []byte) []byte { b[len(b)/2] ^= 1; return b }

// rot flips a bit of the checksum in which a gzip stream ends: what the digests
// hold is not the same in each run, and where a bit counts for what neither.
func rot(b []byte) []byte { b[len(b)-6] ^= 1; return b }

// replace changes text.
func replace(old, new string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !bytes.Contains(b, []byte(old)) {
			panic("nothing to replace: " + old)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
}

// odd is an hour whose digest is odd, with a sound one before and after it.
func odd(o Odd) func(w *World) {
	return func(w *World) { w.Hours(2); w.Hour(2, o); w.Hours(2) }
}

// Cases is the table.
var Cases = []Case{
	{Name: "sound", What: "nothing"},
	{Name: "sound-prefix", What: "nothing; the trail has a key prefix", Deliver: func(w *World) { w.Prefix = "central/logs"; w.Hours(6) }},
	{Name: "sound-organisation", What: "nothing; an organisation trail", NotAWS: organizes,
		Deliver: func(w *World) { w.Organization = "o-exampleorg"; w.Hours(6) }},
	{Name: "sound-midnight", What: "nothing; the hours go over midnight", Deliver: func(w *World) {
		w.Time = w.Start.Add(16 * time.Hour)
		w.Start = w.Time
		w.Hours(5)
	}},
	{Name: "sound-key-rotated", What: "nothing; the key is rotated after the third hour",
		Deliver: func(w *World) { w.Hours(3); w.Key = w.Second; w.Hours(3) }},
	{Name: "sound-key-spki", What: "nothing; the key is published as SPKI", Deliver: func(w *World) { w.Key = w.SPKI; w.Hours(3) }},
	{Name: "sound-unknown-fields", What: "nothing; the digests have fields that nobody knows",
		Deliver: odd(Odd{Fields: func(f map[string]any) { f["digestFlavour"] = map[string]any{"salt": true} }})},
	{Name: "sound-later-range", What: "nothing; the range begins in mid-life", Then: func(w *World) { w.Start = w.Start.Add(3 * time.Hour) }},
	{Name: "sound-bounded-range", What: "nothing; the range ends in mid-life, in an hour's middle",
		Then: func(w *World) { w.Query.Until = w.Start.Add(150 * time.Minute) }},
	{Name: "sound-digest-written-over", What: "digest d5 is written over with the same bytes while it is validated",
		Then: func(w *World) {
			o := w.Bucket.Objects[w.KeyOf("d5")]
			o.Stored = w.Bucket.Now
			w.Bucket.Objects[w.KeyOf("d5")] = o
		}},
	{Name: "sound-log-packed-anew", What: "a log file is compressed anew: its bytes are others, what it holds is not",
		Then: func(w *World) {
			w.Change("l3a", func(b []byte) []byte {
				packed := Pack(Unpack(b))
				packed[9] = 0 // the operating system in the header
				return packed
			})
		}},

	{Name: "log-byte-changed", What: "one letter of log file l3a is changed, the compression is sound",
		Then: func(w *World) { w.Change("l3a", Plain(replace("eventID", "eventId"))) }, Want: []string{"l3a log-changed fail"}},
	{Name: "log-bit-rotten", What: "one bit of the compressed log file l3a is flipped",
		Then: func(w *World) { w.Change("l3a", flip) }, Want: []string{"l3a log-damaged fail"}},
	{Name: "log-deleted", What: "log file l3a is deleted", Then: func(w *World) { w.Delete("l3a") }, Want: []string{"l3a log-missing fail"}},
	{Name: "log-empty", What: "log file l3a has no byte", Then: func(w *World) { w.Change("l3a", func([]byte) []byte { return nil }) },
		Want: []string{"l3a log-damaged fail"}},
	{Name: "log-cut", What: "log file l3a is cut off", Then: func(w *World) { w.Change("l3a", func(b []byte) []byte { return b[:len(b)-12] }) },
		Want: []string{"l3a log-damaged fail"}},
	{Name: "log-not-gzip", What: "log file l3a is stored uncompressed", Then: func(w *World) { w.Change("l3a", Unpack) },
		Want: []string{"l3a log-damaged fail"}},
	{Name: "log-garbage-appended", What: "garbage follows the gzip stream of log file l3a",
		Then: func(w *World) { w.Change("l3a", func(b []byte) []byte { return append(b, "garbage"...) }) }, Want: []string{"l3a log-trailing fail"}},
	{Name: "log-zero-appended", What: "a zero byte follows the gzip stream of log file l3a",
		Then: func(w *World) { w.Change("l3a", func(b []byte) []byte { return append(b, 0) }) }, Want: []string{"l3a log-trailing fail"}},
	{Name: "log-member-appended", What: "a second gzip member follows in log file l3a: readers take its records for the file's",
		Then: func(w *World) {
			w.Change("l3a", func(b []byte) []byte { return append(b, Pack([]byte(`{"Records":[]}`))...) })
		}, Want: []string{"l3a log-trailing fail"}},
	{Name: "log-empty-member-appended", What: "an empty gzip member follows in log file l3a: even the hash stays",
		Then: func(w *World) { w.Change("l3a", func(b []byte) []byte { return append(b, Pack(nil)...) }) }, Want: []string{"l3a log-trailing fail"}},
	{Name: "log-swapped", What: "log files l2a and l3a change places", Then: func(w *World) {
		a, b := w.KeyOf("l2a"), w.KeyOf("l3a")
		w.Bucket.Objects[a], w.Bucket.Objects[b] = w.Bucket.Objects[b], w.Bucket.Objects[a]
	}, Want: []string{"l2a log-changed fail", "l3a log-changed fail"}},
	{Name: "log-refused", What: "log file l3a may not be read", NotAWS: notInBucket,
		Then: func(w *World) { w.Bucket.Refused[w.KeyOf("l3a")] = true }, Want: []string{"l3a log-unread inconclusive"}},
	{Name: "log-elsewhere", What: "the log files of hour 3 are in another bucket, which is not looked into", NotAWS: slowBucket,
		Deliver: func(w *World) {
			w.Hours(2)
			w.LogBucket = w.Others[otherName]
			w.Hours(1)
			w.LogBucket = nil
			w.Hours(2)
		}, Want: []string{"l3a log-elsewhere inconclusive", "l3b log-elsewhere inconclusive"}},
	{Name: "sound-log-elsewhere", What: "the log files of hour 3 are in another bucket, which may be read", NotAWS: slowBucket,
		Deliver: func(w *World) {
			w.Readable = true
			w.Hours(2)
			w.LogBucket = w.Others[otherName]
			w.Hours(1)
			w.LogBucket = nil
			w.Hours(2)
		}},

	{Name: "log-forged", What: "a log file that no digest references lies in hour 3, for longer than a digest may take",
		Then: func(w *World) {
			key, _ := w.Stray(w.Start.Add(150 * time.Minute))
			w.Named("forged", key)
			w.Query.PendingFor = time.Hour
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "log-forged-lately", What: "such a file was put there just now, under an old name",
		Then: func(w *World) {
			key, _ := w.Stray(w.Start.Add(150 * time.Minute))
			w.Named("forged", key)
			o := w.Bucket.Objects[key]
			o.Stored = w.Bucket.Now.Add(-time.Minute)
			w.Bucket.Objects[key] = o
			w.Query.PendingFor = time.Hour
		}, Want: []string{"forged log-unreferenced pending"}},
	{Name: "log-forged-bounded", What: "the range ends in mid-life, shortly after a log file that no digest references",
		Then: func(w *World) {
			key, _ := w.Stray(w.Start.Add(175 * time.Minute))
			w.Named("forged", key)
			w.Query.PendingFor = time.Hour
			w.Query.Until = w.Start.Add(3 * time.Hour)
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "log-contradiction", What: "log file l3a was read by us with other bytes than the digest lists", NotAWS: notAsked,
		Then: func(w *World) {
			w.Query.Wanted = map[string]string{w.KeyOf("l3a"): strings.Repeat("ab", 32)}
		}, Want: []string{"l3a log-contradiction fail"}},
	{Name: "log-pending", What: "a log file was delivered after the newest digest",
		Then: func(w *World) { w.Named("new", w.Log(w.Time.Add(2*time.Minute))) }, Want: []string{"new log-unreferenced pending"}},
	{Name: "young", What: "logging began half an hour ago: there is a log file and no digest yet", Deliver: func(w *World) {},
		Then: func(w *World) {
			w.Named("new", w.Log(w.Time.Add(10*time.Minute)))
			w.Bucket.Now = w.Start.Add(30 * time.Minute)
		}, Want: []string{"CloudTrail-Digest/eu-west-1/ no-digests pending", "new log-unreferenced pending"}},
	{Name: "log-stray", What: "an object that CloudTrail gives no such name lies among the log files, and one among the digests",
		Then: func(w *World) {
			for name, of := range map[string]string{"note": "l3a", "copy": "d3"} {
				key := w.KeyOf(of)[:strings.LastIndexByte(w.KeyOf(of), '/')+1] + name + ".txt"
				w.Named(name, key)
				w.Bucket.Objects[key] = Object{Body: []byte("x"), Stored: w.Start}
			}
		}, Want: []string{"copy stray inconclusive", "note stray inconclusive"}},

	{Name: "digest-deleted", What: "digest d3 is deleted", Then: func(w *World) { w.Delete("d3"); w.Query.PendingFor = time.Hour },
		Want: []string{"d3 digest-missing fail", "l3a log-unreferenced fail", "l3b log-unreferenced fail"}},
	{Name: "digests-deleted", What: "digests d2 and d3 are deleted with their log files", Then: func(w *World) { w.Delete("d2", "d3", "l2a", "l2b", "l3a", "l3b") },
		Want: []string{"d3 digest-missing fail"}},
	{Name: "digest-deleted-first", What: "the first digest is deleted", Then: func(w *World) { w.Delete("d1"); w.Query.PendingFor = time.Hour },
		Want: []string{"d1 digest-missing fail", "l1a log-unreferenced fail", "l1b log-unreferenced fail"}},
	{Name: "tail-cut", What: "the three newest digests are deleted", Then: func(w *World) { w.Delete("d4", "d5", "d6"); w.Query.PendingFor = time.Minute },
		Want: []string{"d3 head-old fail", "l5a log-unreferenced fail", "l5b log-unreferenced fail", "l6a log-unreferenced fail", "l6b log-unreferenced fail"}},
	{Name: "tail-cut-with-logs", What: "the three newest digests are deleted, and their log files too",
		Then: func(w *World) { w.Delete("d4", "d5", "d6", "l5a", "l5b", "l6a", "l6b") }, Want: []string{"d3 head-old fail"}},
	{Name: "tail-cut-long-ago", What: "the range ends with hour 6, a day ago, and the last two digests of it are deleted with all that came after",
		Then: func(w *World) {
			w.Delete("d5", "d6", "l5a", "l5b", "l6a", "l6b")
			w.Query.Until = w.Time
			w.Bucket.Now = w.Time.Add(24 * time.Hour)
		}, Want: []string{"d4 head-old fail"}},
	{Name: "everything-deleted", What: "everything is deleted", Then: func(w *World) { w.Bucket.Objects = map[string]Object{} },
		Want: []string{"CloudTrail-Digest/eu-west-1/ no-digests fail"}},
	{Name: "digests-all-deleted", What: "all digests are deleted", Then: func(w *World) {
		w.Delete("d1", "d2", "d3", "d4", "d5", "d6", "l2a", "l2b", "l3a", "l3b", "l5a", "l5b", "l6a", "l6b")
		w.Query.PendingFor = time.Hour
	}, Want: []string{"CloudTrail-Digest/eu-west-1/ no-digests fail", "l1a log-unreferenced fail", "l1b log-unreferenced fail"}},

	{Name: "digest-edited", What: "a log file is taken out of digest d3",
		Then: func(w *World) {
			w.Change("d3", Plain(func(b []byte) []byte {
				i, j := bytes.Index(b, []byte(`"logFiles":[{`))+12, bytes.Index(b, []byte(`},{`))
				return append(b[:i:i], b[j+2:]...)
			}))
		}, Want: []string{"d3 digest-signature fail", "l3a log-unreferenced pending", "l3b log-unreferenced pending"}},
	{Name: "digest-edited-newest", What: "a hash in the newest digest is changed, as is the log file",
		Then: func(w *World) {
			w.Change("l6a", Plain(replace("eventID", "eventId")))
			w.Change("d6", Plain(replace(`"hashAlgorithm":"SHA-256","hashValue":"`, `"hashAlgorithm":"SHA-256","hashValue":"0000`)))
		}, Want: []string{"d6 digest-signature fail", "l6a log-unreferenced pending", "l6b log-unreferenced pending"}},
	{Name: "digest-signed-by-other", What: "the newest digest is made and signed by somebody else",
		Deliver: func(w *World) { w.Hours(5); w.Key = w.Foreign; w.Hour(0, Odd{}) }, Want: []string{"d6 digest-foreign-key fail"}},
	{Name: "digest-signature-other", What: "digest d3 carries the signature of d2",
		Then: func(w *World) {
			w.ChangeMeta("d3", func(m map[string]string) { m["signature"] = w.Bucket.Objects[w.KeyOf("d2")].Meta["signature"] })
		}, Want: []string{"d3 digest-signature fail", "l3a log-unreferenced pending", "l3b log-unreferenced pending"}},
	{Name: "digest-signature-no-hex", What: "the signature of digest d4 is no hex",
		Then: func(w *World) { w.ChangeMeta("d4", func(m map[string]string) { m["signature"] = "none" }) }, Want: []string{"d4 digest-signature fail"}},
	{Name: "digest-without-metadata", What: "digest d4 has lost its metadata",
		Then: func(w *World) { w.ChangeMeta("d4", func(m map[string]string) { clear(m) }) }, Want: []string{"d4 digest-unsigned inconclusive"}},
	{Name: "digest-algorithm", What: "the metadata of digest d4 says that it is signed with SHA1withRSA",
		Then: func(w *World) {
			w.ChangeMeta("d4", func(m map[string]string) { m["signature-algorithm"] = "SHA1withRSA" })
		}, Want: []string{"d4 digest-algorithm fail"}},
	{Name: "digest-damaged", What: "a bit of the compressed digest d4 is flipped", Then: func(w *World) { w.Change("d4", rot) }, Want: []string{"d4 digest-invalid fail"}},
	{Name: "digest-empty", What: "digest d4 has no byte", Then: func(w *World) { w.Change("d4", func([]byte) []byte { return nil }) }, Want: []string{"d4 digest-invalid fail"}},
	{Name: "digest-garbage-appended", What: "garbage follows the gzip stream of digest d4",
		Then: func(w *World) { w.Change("d4", func(b []byte) []byte { return append(b, "garbage"...) }) }, Want: []string{"d4 digest-invalid fail"}},
	{Name: "digest-field-twice", What: "digest d3 has a field twice, and is signed",
		Deliver: odd(Odd{Bytes: replace(`"logFiles":`, `"logFiles":[],"logFiles":`)}),
		Want:    []string{"d3 digest-invalid fail", "l3a log-unreferenced pending", "l3b log-unreferenced pending"}},
	{Name: "digest-field-missing", What: "digest d3 has no digestStartTime, and is signed",
		Deliver: odd(Odd{Fields: func(f map[string]any) { delete(f, "digestStartTime") }}),
		Want:    []string{"d3 digest-invalid fail", "l3a log-unreferenced pending", "l3b log-unreferenced pending"}},
	{Name: "digest-previous-half", What: "digest d3 says which digest was before it, but not with which hash",
		Deliver: odd(Odd{Fields: func(f map[string]any) { f["previousDigestHashValue"] = nil }}),
		Want:    []string{"d3 digest-invalid fail", "l3a log-unreferenced pending", "l3b log-unreferenced pending"}},
	{Name: "digest-weak-hash", What: "digest d3 lists its log files with MD5",
		Deliver: odd(Odd{Bytes: func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(`"hashAlgorithm":"SHA-256","hashValue":"`), []byte(`"hashAlgorithm":"MD5","hashValue":"0`))
		}}),
		Want: []string{"l3a log-hash fail", "l3b log-hash fail"}},
	{Name: "digest-other-account", What: "digest d4 says that it is of another account",
		Deliver: func(w *World) {
			w.Hours(3)
			w.Hour(0, Odd{Fields: func(f map[string]any) { f["awsAccountId"] = "999999999999" }})
			w.Hours(1)
		}, Want: []string{"d4 digest-invalid fail"}},
	{Name: "digest-copied", What: "digest d4 is copied over d5, which had no log files", Deliver: func(w *World) { w.Hours(4); w.Hour(0, Odd{}); w.Hours(1) },
		Then: func(w *World) { w.Bucket.Objects[w.KeyOf("d5")] = w.Bucket.Objects[w.KeyOf("d4")] }, Want: []string{"d5 digest-moved fail"}},
	{Name: "digest-replayed-newest", What: "the newest digest is deleted, and the one before it copied to its place",
		Then: func(w *World) {
			w.Bucket.Objects[w.KeyOf("d6")] = w.Bucket.Objects[w.KeyOf("d5")]
			w.Delete("l6a", "l6b")
		}, Want: []string{"d6 digest-moved fail"}},
	{Name: "digest-replaced", What: "digest d4 is another one that CloudTrail signed for the same hour",
		Deliver: func(w *World) {
			w.Hours(3)
			before := *w.Chain
			w.Hour(0, Odd{Fields: func(f map[string]any) { f["note"] = "second" }})
			other := w.Bucket.Objects[w.KeyOf("d4")]
			*w.Chain = before
			w.hour--
			w.Hours(2)
			w.Bucket.Objects[w.KeyOf("d4")] = other
		}, Want: []string{"d4 digest-replaced fail"}},
	{Name: "digest-previous-signature", What: "digest d4 says that d3 had another signature, and is signed",
		Deliver: func(w *World) {
			w.Hours(3)
			w.Hour(0, Odd{Fields: func(f map[string]any) { f["previousDigestSignature"] = strings.Repeat("ab", 256) }})
			w.Hours(1)
		}, Want: []string{"d3 digest-replaced fail"}},
	{Name: "digest-passed-over", What: "a digest that CloudTrail signed lies between d4 and d5, which follows d4",
		Deliver: func(w *World) {
			w.Hours(4)
			before := *w.Chain
			w.Named("between", w.Digest(Odd{For: 30 * time.Minute}))
			*w.Chain = before
			w.Hours(1)
		}, Want: []string{"between digest-unlinked fail"}},
	{Name: "digest-passed-over-by-case", What: "digest d4 follows a copy of d3 whose name is written in capitals, and is signed", NotAWS: "it takes the copy for the trail's too",
		Deliver: func(w *World) {
			w.Query.Trail = trailName
			w.Hours(3)
			w.previous.key = strings.Replace(w.KeyOf("d3"), trailName, strings.ToUpper(trailName), 1)
			w.Bucket.Objects[w.previous.key] = w.Bucket.Objects[w.KeyOf("d3")]
			w.Hours(1)
		}, Want: []string{"d3 digest-unlinked fail"}},
	{Name: "digest-refused", What: "digest d4 may not be read", NotAWS: notInBucket,
		Then: func(w *World) { w.Bucket.Refused[w.KeyOf("d4")] = true }, Want: []string{"d4 digest-unread inconclusive"}},
	{Name: "digest-huge", What: "digest d4 is a gzip bomb of 9 MB", Then: func(w *World) {
		w.Change("d4", func([]byte) []byte { return Pack(bytes.Repeat([]byte(" "), 9<<20)) })
	}, Want: []string{"d4 digest-unread inconclusive"}},

	{Name: "chain-restarted", What: "log file validation was switched off and on: d5 starts a chain, without a gap",
		Deliver: func(w *World) { w.Hours(4); w.Hour(2, Odd{Anew: true}); w.Hours(1) }, Want: []string{"d5 chain-restarted fail"}},
	{Name: "logging-stopped", What: "logging was stopped for two hours: d5 starts a chain",
		Deliver: func(w *World) {
			w.Hours(4)
			w.Time = w.Time.Add(2 * time.Hour)
			w.Hour(2, Odd{Anew: true})
			w.Hours(1)
		}, Want: []string{"d5 chain-restarted fail", "d5 gap fail"}},
	{Name: "logging-stopped-before-range", What: "logging was stopped before the range, which begins with the starting digest d5",
		Deliver: func(w *World) {
			w.Hours(4)
			w.Time = w.Time.Add(2 * time.Hour)
			w.Start = w.Time
			w.Hour(2, Odd{Anew: true})
			w.Hours(1)
		}, Want: []string{"d5 chain-restarted fail"}},
	{Name: "logging-stopped-forged", What: "logging was stopped for two hours, and log files of that time lie there",
		Deliver: func(w *World) {
			w.Hours(4)
			key, _ := w.Stray(w.Time.Add(time.Hour))
			w.Named("forged", key)
			w.Time = w.Time.Add(2 * time.Hour)
			w.Hour(2, Odd{Anew: true})
			w.Query.PendingFor = 90 * time.Minute
		}, Want: []string{"d5 chain-restarted fail", "d5 gap fail", "forged log-unreferenced fail"}},
	{Name: "hours-skipped", What: "d5 follows d4 but begins two hours after it",
		Deliver: func(w *World) { w.Hours(4); w.Time = w.Time.Add(2 * time.Hour); w.Hours(1) }, Want: []string{"d5 gap fail"}},
	{Name: "chain-from-elsewhere", What: "the chain comes from another bucket, which is not looked into", NotAWS: slowBucket,
		Deliver: func(w *World) {
			here := w.Bucket
			w.Bucket = w.Others[otherName]
			w.Hours(2)
			w.Bucket = here
			w.Hours(3)
		}, Want: []string{"d2 chain-elsewhere inconclusive"}},
	{Name: "sound-from-elsewhere", What: "the chain comes from another bucket, which may be read", NotAWS: slowBucket,
		Deliver: func(w *World) {
			here := w.Bucket
			w.Readable = true
			w.Bucket = w.Others[otherName]
			w.Hours(2)
			w.Bucket = here
			w.Hours(3)
		}},

	{Name: "keys-gone", What: "CloudTrail lists no key of that time any more", Deliver: func(w *World) { w.Hour(0, Odd{}) },
		NotAWS: sharedKeys, Then: func(w *World) { w.Listed = nil }, Want: []string{"d1 key-unavailable inconclusive"}},
	{Name: "sound-keys-archived", What: "CloudTrail lists no key of that time any more, and the archived one is used", NotAWS: notAsked,
		Then: func(w *World) { w.Listed = nil; w.Query.Known = []trail.PublicKey{w.Key.Public} }},
	{Name: "keys-refused", What: "the keys may not be listed", Deliver: func(w *World) { w.Hour(0, Odd{}) }, NotAWS: notInBucket,
		Then: func(w *World) { w.KeysErr = errors.New("AccessDeniedException") }, Want: []string{"d1 key-unavailable inconclusive"}},
	{Name: "sound-archive-mislabelled", What: "an archived key is not the one its fingerprint says: CloudTrail is asked", NotAWS: notAsked,
		Then: func(w *World) { w.Query.Known = []trail.PublicKey{w.mislabelled().Public} }},
	{Name: "keys-mislabelled", What: "the key that CloudTrail lists is not the one its fingerprint says", NotAWS: sharedKeys, Deliver: func(w *World) { w.Hour(0, Odd{}) },
		Then: func(w *World) { w.Listed = []*Key{w.mislabelled()} }, Want: []string{"d1 key-unavailable inconclusive"}},
	{Name: "list-refused", What: "the digests may not be listed", NotAWS: notInBucket,
		Then: func(w *World) {
			w.Bucket.Refused[w.folder("CloudTrail-Digest", w.Start)[:len(w.folder("CloudTrail-Digest", w.Start))-len("2026/03/10/")]] = true
		},
		Want: []string{"CloudTrail-Digest/eu-west-1/2026/03/10/ unlisted inconclusive"}},
	{Name: "list-logs-refused", What: "the log files may not be listed", NotAWS: notInBucket,
		Then: func(w *World) { w.Bucket.Refused[w.folder("CloudTrail", w.Start)] = true },
		Want: []string{"CloudTrail/eu-west-1/2026/03/10/ unlisted inconclusive"}},

	{Name: "sound-resumed", What: "three hours follow the head of the last validation", NotAWS: notAsked,
		Deliver: func(w *World) { w.Hours(3); w.Query.Heads = w.Heads(); w.Hours(3) }},
	{Name: "sound-resumed-pending", What: "log files that were pending at the last validation are in a digest now", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			w.hour++
			w.Named("l4a", w.Log(w.Time.Add(2*time.Minute)))
			w.Query.Heads = w.Heads()
			w.Named("d4", w.Digest(Odd{}))
			w.Hours(2)
			w.Query.PendingFor = time.Hour
		}},
	{Name: "resumed-forged", What: "a log file that was pending at the last validation is in no digest since", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			key, _ := w.Stray(w.Time.Add(-30 * time.Minute))
			w.Named("forged", key)
			w.Query.Heads = w.Heads()
			w.Query.From = time.Time{}
			w.Hours(3)
			w.Query.PendingFor = time.Hour
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "resumed-pending-deleted", What: "a log file that was pending at the last validation is gone, and in no digest since", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			key, _ := w.Stray(w.Time.Add(-30 * time.Minute))
			w.Named("gone", key)
			w.Query.Heads = w.Heads()
			w.Delete("gone")
			w.Hours(3)
		}, Want: []string{"gone log-missing fail"}},
	{Name: "resumed-log-refused", What: "log file l2a could not be read last time; now it can, and it is another one", NotAWS: notAsked,
		Deliver: func(w *World) { w.Hours(3); refusedOnce(w, w.KeyOf("l2a")); w.Hours(3) },
		Then:    func(w *World) { w.Change("l2a", Plain(replace("eventID", "eventId"))) }, Want: []string{"l2a log-changed fail"}},
	{Name: "resumed-log-refused-still", What: "log file l2a could not be read last time and cannot now", NotAWS: notInBucket,
		Deliver: func(w *World) { w.Hours(3); refusedOnce(w, w.KeyOf("l2a")); w.Hours(3); refusedOnce(w, w.KeyOf("l2a")) },
		Then:    func(w *World) { w.Bucket.Refused[w.KeyOf("l2a")] = true }, Want: []string{"l2a log-unread inconclusive"}},
	{Name: "resumed-digest-refused", What: "digest d2 could not be read last time; now it can, and it does not list a log file of its hour, and one that it lists is another one",
		NotAWS: notAsked, Deliver: func(w *World) {
			w.Hours(3)
			key, _ := w.Stray(w.Start.Add(90 * time.Minute))
			w.Named("forged", key)
			w.Query.PendingFor = time.Hour
			refusedOnce(w, w.KeyOf("d2"))
			w.Hours(3)
		},
		Then: func(w *World) { w.Change("l2a", Plain(replace("eventID", "eventId"))) },
		Want: []string{"forged log-unreferenced fail", "l2a log-changed fail"}},
	{Name: "resumed-keys-refused", What: "the key of digest d2 could not be had last time; now it can, and log file l2a is another one", NotAWS: notAsked,
		Deliver: func(w *World) {
			first := w.Key
			w.Hours(1)
			w.Key = w.Second
			w.Hours(1)
			w.Key = first
			w.Hours(1)
			w.Query.Known, w.KeysErr = []trail.PublicKey{first.Public}, errors.New("AccessDeniedException")
			w.Query.Heads = w.Heads()
			w.KeysErr = nil
			w.Hours(3)
		},
		Then: func(w *World) { w.Change("l2a", Plain(replace("eventID", "eventId"))) }, Want: []string{"l2a log-changed fail"}},
	{Name: "resumed-log-elsewhere", What: "the log files of hour 2 are in another bucket, which was not looked into last time; now it is, and l2a is gone", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(1)
			w.LogBucket = w.Others[otherName]
			w.Hours(1)
			w.LogBucket = nil
			w.Hours(1)
			w.Query.Heads = w.Heads()
			w.Hours(2)
		},
		Then: func(w *World) { w.Readable = true; delete(w.Others[otherName].Objects, w.KeyOf("l2a")) }, Want: []string{"l2a log-missing fail"}},
	{Name: "resumed-list-refused", What: "the log files of the second day could not be listed last time; one of the first day is in no digest", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Time = w.Start.Add(12 * time.Hour)
			w.Start = w.Time
			w.Hours(9)
			key, _ := w.Stray(w.Start.Add(30 * time.Minute))
			w.Named("forged", key)
			refusedOnce(w, w.folder("CloudTrail", w.Time))
			w.Query.PendingFor = time.Hour
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "resumed-bounded", What: "last time only hours 4 and 5 were validated; log file l2a is another one", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(6)
			start := w.Start
			w.Query.From, w.Query.Until = start.Add(3*time.Hour), start.Add(5*time.Hour)
			w.Query.Heads = w.Heads()
			w.Query.From, w.Query.Until = time.Time{}, time.Time{}
		},
		Then: func(w *World) { w.Change("l2a", Plain(replace("eventID", "eventId"))) }, Want: []string{"l2a log-changed fail"}},
	{Name: "before-head-emptied", What: "a range long before the head of the last validation has lost all that it held", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(40)
			w.Query.Heads = w.Heads()
			w.Query.From, w.Query.Until = w.Start, w.Start.Add(6*time.Hour)
			for key := range w.Bucket.Objects {
				if strings.Contains(key, "/2026/03/10/") {
					delete(w.Bucket.Objects, key)
				}
			}
		}, Want: []string{"CloudTrail-Digest/eu-west-1/ no-digests fail"}},
	{Name: "before-head-emptied-of-one", What: "the same of one of two trails, of which both have a head", NotAWS: notAsked,
		Deliver: func(w *World) {
			alone(w, 40)
			w.Hours(40)
			w.Query.Heads = w.Heads()
			w.Query.From, w.Query.Until = w.Start, w.Start.Add(6*time.Hour)
			for key := range w.Bucket.Objects {
				if strings.Contains(key, "/2026/03/10/") && !strings.Contains(key, "other-trail") {
					delete(w.Bucket.Objects, key)
				}
			}
		}, Want: []string{"CloudTrail-Digest/eu-west-1/ no-digests fail"}},
	{Name: "sound-before-birth", What: "one of two trails, of which both have a head, was made long after the range", NotAWS: notAsked,
		Deliver: func(w *World) {
			alone(w, 33)
			w.Time = w.Start.Add(30 * time.Hour)
			w.Hours(3)
			w.Query.Heads = w.Heads()
			w.Query.From, w.Query.Until = w.Start, w.Start.Add(6*time.Hour)
		}},
	{Name: "before-head-emptied-unread", What: "the same, and the first digest after the range may not be read", NotAWS: notInBucket,
		Deliver: func(w *World) {
			alone(w, 40)
			w.Hours(40)
			w.Query.Heads = w.Heads()
			w.Query.From, w.Query.Until = w.Start, w.Start.Add(6*time.Hour)
			for key := range w.Bucket.Objects {
				if strings.Contains(key, "/2026/03/10/") && !strings.Contains(key, "other-trail") {
					delete(w.Bucket.Objects, key)
				}
			}
		}, Then: func(w *World) { w.Bucket.Refused[w.KeyOf("d18")] = true }, Want: []string{"d18 digest-unread inconclusive"}},
	{Name: "resumed-second-trail-unread", What: "another trail's digest s1 could not be read in the last validations, and is not in the days of this one: what it may list stays unknown",
		NotAWS: notAsked, Deliver: func(w *World) {
			w.Query.Trail, w.Query.PendingFor = trailName, time.Minute
			w.Hours(4)
			second(w)
			refusedOnce(w, w.KeyOf("s1"))
			w.Hours(24)
			refusedOnce(w, w.KeyOf("s1"))
			w.Hours(2)
		}, Want: []string{"other1 log-unreferenced inconclusive"}},
	{Name: "resumed-backdated", What: "a log file under the time of the first hour was stored after the last validation, for longer than a digest may take", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			w.Query.Heads = w.Heads()
			backdated(w, w.Start.Add(30*time.Minute))
			w.Hours(3)
			w.Query.PendingFor = time.Hour
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "resumed-backdated-asked-again", What: "such a file was pending at the last validation, and no digest has referenced it since", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			w.Query.Heads = w.Heads()
			backdated(w, w.Start.Add(30*time.Minute))
			w.Hours(1)
			w.Query.Heads = w.Heads()
			w.Hours(3)
			w.Query.PendingFor = 2 * time.Hour
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "resumed-backdated-written-over", What: "such a file is written over again and again, so that it looks new", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			w.Query.Heads = w.Heads()
			backdated(w, w.Start.Add(30*time.Minute))
			w.Hours(1)
			w.Query.Heads = w.Heads()
			w.Hours(3)
			w.storedAt("forged", w.Time)
			w.Query.PendingFor = 2 * time.Hour
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "resumed-backdated-days", What: "a log file under the time of two days before was stored after the last validation, for longer than a digest may take", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			w.Query.Heads = w.Heads()
			backdated(w, w.Start.AddDate(0, 0, -2))
			w.Hours(3)
			w.Query.PendingFor = time.Hour
		}, Want: []string{"forged log-unreferenced fail"}},
	{Name: "sound-resumed-backdated", What: "a log file came days late, after the last validation, and the digest after that lists it", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			w.Query.Heads = w.Heads()
			w.Named("late", w.Log(w.Start.AddDate(0, 0, -2)))
			w.storedAt("late", w.Time.Add(30*time.Minute))
			w.Hours(3)
			w.Query.PendingFor = time.Hour
		}},
	{Name: "head-of-no-chain", What: "the organisation's id was taken out of the configuration since the last validation: its chain is not walked any more", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Organization = "o-exampleorg"
			w.Hours(3)
			w.Query.Heads = w.Heads()
			w.Organization, w.previous = "", nil
			w.Hours(3)
		}, Want: []string{" head-unread inconclusive", "d3 head-unread inconclusive"}},
	{Name: "sound-head-of-other-trail", What: "the head is of another trail than the one that is asked for", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Query.Trail = "other-trail"
			w.Hours(4)
			second(w)
			w.Query.Heads = w.Heads()
			w.Query.Trail = trailName
			w.Query.From = w.Start
		}},
	{Name: "sound-wanted-unhashed", What: "log file l3a was read by us and not hashed", NotAWS: notAsked,
		Then: func(w *World) { w.Query.Wanted = map[string]string{w.KeyOf("l3a"): ""} }},
	{Name: "head-deleted", What: "the head of the last validation is deleted; newer digests are there", NotAWS: notAsked,
		Deliver: func(w *World) { w.Hours(3); w.Query.Heads = w.Heads(); w.Hours(3) }, Then: func(w *World) { w.Delete("d3") },
		Want: []string{"d3 head-missing fail"}},
	{Name: "head-deleted-and-newer", What: "the head of the last validation is deleted, and everything newer", NotAWS: notAsked,
		Deliver: func(w *World) { w.Hours(3); w.Query.Heads = w.Heads(); w.Hours(3) },
		Then:    func(w *World) { w.Delete("d3", "d4", "d5", "d6", "l5a", "l5b", "l6a", "l6b") },
		Want:    []string{"d3 head-missing fail", "d3 head-old fail"}},
	{Name: "head-gone-with-everything", What: "everything is deleted, the head of the last validation too", NotAWS: notAsked,
		Deliver: func(w *World) { w.Hours(3); w.Query.Heads = w.Heads() }, Then: func(w *World) { w.Bucket.Objects = map[string]Object{} },
		Want: []string{"d3 head-missing fail"}},
	{Name: "head-changed", What: "the head of the last validation is another digest now, which CloudTrail signed", NotAWS: notAsked,
		Deliver: func(w *World) {
			w.Hours(3)
			before := *w.Chain
			w.Hour(0, Odd{})
			w.Query.Heads = w.Heads()
			*w.Chain = before
			w.hour--
			w.Hour(0, Odd{Fields: func(f map[string]any) { f["note"] = "second" }})
		}, Want: []string{"d4 head-changed fail"}},
	{Name: "head-beyond-range-refused", What: "the range ends before the head of the last validation, which may not be read", NotAWS: notInBucket,
		Deliver: func(w *World) {
			w.Hours(6)
			w.Query.Heads = w.Heads()
			w.Query.Until = w.Start.Add(3 * time.Hour)
			w.Query.From = w.Start
		},
		Then: func(w *World) { w.Bucket.Refused[w.KeyOf("d6")] = true }, Want: []string{"d6 head-unread inconclusive"}},
	{Name: "head-passed-by", What: "the range begins before the head, which is deleted", NotAWS: notAsked,
		Deliver: func(w *World) { w.Hours(4); w.Query.Heads = w.Heads(); w.Query.From = w.Start; w.Hours(2) },
		Then:    func(w *World) { w.Delete("d4") }, Want: []string{"d4 digest-missing fail", "d4 head-missing fail"}},
	{Name: "head-refused", What: "the head of the last validation may not be read", NotAWS: notInBucket,
		Deliver: func(w *World) { w.Hours(3); w.Hour(0, Odd{}); w.Query.Heads = w.Heads(); w.Hours(1) },
		Then:    func(w *World) { w.Bucket.Refused[w.KeyOf("d4")] = true }, Want: []string{"d4 digest-unread inconclusive"}},

	{Name: "sound-backfill", What: "a log file came too late for its hour: a chain of backfill digests lists it", NotAWS: newer,
		Deliver: func(w *World) { w.Hours(6); backfill(w, 2) }},
	{Name: "backfill-without-time", What: "a backfill digest has lost its backfill-generation-timestamp", NotAWS: newer,
		Deliver: func(w *World) { w.Hours(6); backfill(w, 2) },
		Then: func(w *World) {
			w.ChangeMeta("b2", func(m map[string]string) { delete(m, "backfill-generation-timestamp") })
		}, Want: []string{"b2 digest-invalid fail", "late2 log-unreferenced pending"}},
	{Name: "backfill-deleted", What: "the first of three backfill digests is deleted, and the log file it listed", NotAWS: newer,
		Deliver: func(w *World) { w.Hours(6); backfill(w, 3) }, Then: func(w *World) { w.Delete("b1", "late1") }, Want: []string{"b1 digest-missing fail"}},
	{Name: "backfill-alone", What: "backfill digests are all that is left", NotAWS: newer,
		Deliver: func(w *World) { w.Hours(6); backfill(w, 2) },
		Then: func(w *World) {
			w.Delete("d1", "d2", "d3", "d4", "d5", "d6", "l1a", "l1b", "l2a", "l2b", "l3a", "l3b", "l5a", "l5b", "l6a", "l6b")
		}, Want: []string{"CloudTrail-Digest/eu-west-1/ no-digests fail"}},
	{Name: "sound-two-trails", What: "another trail delivers to the same place; its digests are not asked for",
		Deliver: func(w *World) { w.Query.Trail = trailName; w.Hours(4); second(w) }},
	{Name: "second-trail-invalid", What: "another trail delivers to the same place, and its first digest was changed; what that may list is not called forged",
		Deliver: func(w *World) { w.Query.Trail, w.Query.PendingFor = trailName, time.Minute; w.Hours(4); second(w) },
		Then:    func(w *World) { w.Change("s1", rot) }, Want: []string{"other1 log-unreferenced inconclusive"}},
}

// alone delivers n digests of another trail, without a log file.
func alone(w *World, n int) {
	c := *w.Chain
	c.Trail, c.previous, c.pending, c.Time = "other-trail", nil, nil, w.Start
	for i := range n {
		w.Named(fmt.Sprint("o", i+1), c.Digest(Odd{}))
	}
}

// refusedOnce takes the heads of a validation to which a key or a folder was refused.
func refusedOnce(w *World, key string) {
	w.Bucket.Refused = map[string]bool{key: true}
	w.Query.Heads = w.Heads()
	w.Bucket.Refused = map[string]bool{}
}

// backdated puts a log file that no digest will list, under a time of the past.
func backdated(w *World, at time.Time) {
	key, _ := w.Stray(at)
	w.Named("forged", key)
	w.storedAt("forged", w.Time.Add(30*time.Minute))
}

// backfill delivers n backfill digests, each with a log file of its hour.
func backfill(w *World, n int) {
	c := *w.Chain
	c.Backfill, c.previous, c.pending, c.Time = true, nil, nil, w.Start
	for i := range n {
		name := string(rune('1' + i))
		w.Named("late"+name, c.Log(c.Time.Add(20*time.Minute)))
		w.Named("b"+name, c.Digest(Odd{Late: 90 * time.Minute}))
	}
	w.logs = c.logs
}

// second delivers another trail's digests to the same place.
func second(w *World) {
	c := *w.Chain
	c.Trail, c.previous, c.pending, c.Time, c.logs = "other-trail", nil, nil, w.Start, 1000
	for i := range 4 {
		name := string(rune('1' + i))
		w.Named("other"+name, c.Log(c.Time.Add(20*time.Minute)))
		w.Named("s"+name, c.Digest(Odd{}))
	}
}
