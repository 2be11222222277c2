package trail

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/auditcanary/auditcanary/shared/canary"
)

// sealed is a vector's archive and the seal of one of its log files.
func sealed(t *testing.T, name string, log string) (vector, validatedChains, Seal) {
	t.Helper()
	v := readVector(t, name)
	key, hash := v.log(t, log)
	a := NewArchive(Config{Name: "central", OrganizationID: v.org}, v.store)
	got := validate(t, a, v.keys, Validation{From: v.Start, Wanted: map[string]string{key: hash}})
	for _, r := range got.results {
		if len(r.Seals) == 1 {
			return v, got, r.Seals[0]
		}
	}
	t.Fatalf("no seal: %+v", got.results)
	return v, got, Seal{}
}

// log returns the key of a log file, and the hash of what it holds.
func (v vector) log(t *testing.T, part string) (key, hash string) {
	t.Helper()
	for k := range v.store.objects {
		if strings.Contains(k, part) && !strings.Contains(k, "Digest") {
			got, err := newInflater().inflate(t.Context(), strings.NewReader(string(v.store.objects[k].body)), 0)
			if err != nil {
				t.Fatal(err)
			}
			return k, got.sum
		}
	}
	t.Fatalf("no log file %s", part)
	return "", ""
}

func TestASealIsTheCustodyOfALogFile(t *testing.T) {
	v, got, s := sealed(t, "01_happy", "1140Z")
	if len(s.Path) != 3 {
		t.Errorf("the path has %d digests, not the 3 after the first one", len(s.Path))
	}
	var head *Head
	for _, r := range got.results {
		if r.Chain.Trail != "" {
			head = r.Head
			if len(r.Keys) != 1 || r.Keys[0].Fingerprint != v.keys[0].Fingerprint {
				t.Errorf("keys %+v", r.Keys)
			}
		}
	}
	if head == nil || !s.Path[2].same(head.Link) {
		t.Errorf("the path does not lead to the head %+v", head)
	}
	if err := VerifySeal(s, v.keys); err != nil {
		t.Error(err)
	}
	// It is kept as JSON.
	kept, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Seal
	if err := json.Unmarshal(kept, &again); err != nil {
		t.Fatal(err)
	}
	if err := VerifySeal(again, v.keys); err != nil {
		t.Error(err)
	}
}

func TestASealIsBrokenByAnyChange(t *testing.T) {
	v, _, good := sealed(t, "01_happy", "1140Z")
	_, _, other := sealed(t, "01_happy", "1240Z_bb1c")
	for _, c := range []struct {
		name   string
		change func(s *Seal)
		err    string
	}{
		{"another log file", func(s *Seal) { s.LogKey = other.LogKey }, "does not list it"},
		{"another hash", func(s *Seal) { s.LogSHA256 = other.LogSHA256 }, "lists it with hash"},
		{"no hash", func(s *Seal) { s.LogSHA256 = "" }, "lists it with hash"},
		{"a byte of the digest", func(s *Seal) { s.DigestBytes = append([]byte(" "), s.DigestBytes...) }, "not those of digest"},
		{"another digest", func(s *Seal) { s.DigestBytes = other.DigestBytes }, "not those of digest"},
		{"no digest", func(s *Seal) { s.DigestBytes = nil }, "parse digest"},
		{"another digest and its link", func(s *Seal) { s.DigestBytes, s.Digest = other.DigestBytes, other.Digest }, "does not list it"},
		{"the digest's signature", func(s *Seal) { s.Digest.Signature = s.Path[0].Signature }, "does not match"},
		{"no signature", func(s *Seal) { s.Digest.Signature = "" }, "does not match"},
		{"the digest's time", func(s *Seal) { s.Digest.End = s.Digest.End.Add(time.Second) }, "not those of digest"},
		{"the digest's place", func(s *Seal) { s.Digest.Bucket = "elsewhere" }, "not those of digest"},
		{"a digest left out of the path", func(s *Seal) { s.Path = s.Path[1:] }, "does not follow"},
		{"the path in another order", func(s *Seal) { s.Path[0], s.Path[1] = s.Path[1], s.Path[0] }, "does not follow"},
		{"a hash in the path", func(s *Seal) { s.Path[1].SHA256 = s.Path[0].SHA256 }, "does not match"},
		{"a previous signature in the path", func(s *Seal) { s.Path[1].PreviousSignature = "00" }, "does not follow"},
		{"a time in the path", func(s *Seal) { s.Path[2].End = s.Path[2].End.Add(time.Second) }, "does not match"},
		{"a key in the path", func(s *Seal) { s.Path[2].Fingerprint = strings.Repeat("0", 32) }, "no key with fingerprint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := good
			s.Path = append([]Link{}, good.Path...)
			c.change(&s)
			if err := VerifySeal(s, v.keys); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
	if err := VerifySeal(good, nil); err == nil {
		t.Error("it verifies without a key")
	}
	wrong := v.keys[0]
	wrong.DER = append([]byte{}, wrong.DER...)
	wrong.DER[100] ^= 1
	if err := VerifySeal(good, []PublicKey{wrong}); err == nil {
		t.Error("it verifies with another key")
	}
	good.Path = nil
	if err := VerifySeal(good, v.keys); err != nil {
		t.Errorf("a shorter path: %v", err)
	}
}

// What has no seal has a reason.
func TestWhatIsNotSealedSaysWhy(t *testing.T) {
	for _, c := range []struct {
		name, vector, log string
		change            func(v vector, key, hash string) (newHash string)
		want              string
	}{
		{"its digest is missing", "09_digest_missing_middle", "1240Z_bb1c", nil, "log-unreferenced fail"},
		{"it was read with other bytes", "01_happy", "1140Z", func(vector, string, string) string { return strings.Repeat("ab", 32) }, "log-contradiction fail"},
		{"it was changed since", "01_happy", "1140Z", func(v vector, key, hash string) string {
			v.store.objects[key] = fakeObject{body: nil}
			return hash
		}, "log-damaged fail"},
		{"it was deleted since", "01_happy", "1140Z", func(v vector, key, hash string) string {
			delete(v.store.objects, key)
			return hash
		}, "log-missing fail"},
		{"it cannot be read", "01_happy", "1140Z", func(v vector, key, hash string) string {
			v.store.fail[key] = fmt.Errorf("AccessDenied")
			return hash
		}, "log-unread inconclusive"},
		{"its folder cannot be listed", "01_happy", "1140Z", func(v vector, key, hash string) string {
			v.store.fail[key[:strings.LastIndexByte(key, '/')+1]] = fmt.Errorf("AccessDenied")
			return hash
		}, "unlisted inconclusive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := readVector(t, c.vector)
			key, hash := v.log(t, c.log)
			if c.change != nil {
				hash = c.change(v, key, hash)
			}
			a := NewArchive(Config{Name: "central"}, v.store)
			got := validate(t, a, v.keys, Validation{From: v.Start, Wanted: map[string]string{key: hash}, OnlyWanted: true})
			var why Finding
			for _, r := range got.results {
				if len(r.Seals) > 0 {
					t.Errorf("sealed: %+v", r.Seals[0])
				}
				if f, ok := r.Unsealed[key]; ok {
					why = f
				}
			}
			if said := fmt.Sprint(why.Kind, " ", why.Status); said != c.want || why.Detail == "" {
				t.Errorf("%s: %s, want %s", said, why.Detail, c.want)
			}
		})
	}
}

// What is wanted lies before the head, and only it is read beside the digests.
func TestWantedLogFilesAreLookedForBeforeTheHead(t *testing.T) {
	v := readVector(t, "01_happy")
	a := NewArchive(Config{Name: "central"}, v.store)
	place := []canary.Target{{Account: v.account, Region: v.Region}}
	var heads []Head
	for _, r := range validate(t, a, v.keys, Validation{From: v.Start, Places: place}).results {
		heads = append(heads, *r.Head)
	}
	key, hash := v.log(t, "1240Z_bb1c")
	v.store.gets = nil
	got := validate(t, a, v.keys, Validation{Heads: heads, Wanted: map[string]string{key: hash}, OnlyWanted: true})
	seals, logs := 0, 0
	for _, r := range got.results {
		seals += len(r.Seals)
		for _, s := range r.Seals {
			if err := VerifySeal(s, v.keys); err != nil || len(s.Path) != 2 {
				t.Errorf("path of %d, %v", len(s.Path), err)
			}
		}
	}
	for _, g := range v.store.gets {
		if !strings.Contains(g, "Digest") {
			logs++
		}
	}
	if seals != 1 || logs != 1 || len(got.findings()) > 0 {
		t.Errorf("%d seals, %d log files read, findings %q", seals, logs, got.findings())
	}
}
