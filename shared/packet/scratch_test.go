package packet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestPilesGiveBackWhatWasPutAside(t *testing.T) {
	for _, count := range []int{1, 7} {
		scratch := &inMemory{}
		p := newPiles(newRoom(scratch), count, 100)
		want := make([][]string, count)
		var all []string
		for n := range 500 {
			// Of any length: nothing, and more than a block.
			record := fmt.Sprintf("%06d%s", n, strings.Repeat("x", n*n%257))
			i := p.of(keyOf(record))
			if err := p.add(i, []byte(record[:3]), []byte(record[3:])); err != nil {
				t.Fatal(err)
			}
			want[i], all = append(want[i], record), append(all, record)
		}
		for i := range want {
			var got []string
			for record, err := range p.read(i) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(record))
			}
			if !slices.Equal(got, want[i]) {
				t.Errorf("%d piles: pile %d gives %q, want %q", count, i, got, want[i])
			}
		}
		var got []string
		for record, err := range p.merged() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(record))
		}
		if !slices.Equal(got, all) {
			t.Errorf("%d piles: together %q, want %q", count, got, all)
		}
		if len(scratch.data) == 0 {
			t.Error("nothing was put aside: the test shows nothing")
		}
	}
}

func TestKeysAreCountedOnce(t *testing.T) {
	p := newPiles(newRoom(nil), 3, 60)
	for n := range 300 {
		for _, group := range []uint32{0, ofSeals} {
			if err := p.addDistinct(group, keyOf(fmt.Sprint(n%(10+int(group%7))))); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := map[uint32]int{}
	if err := p.distinct(count); err != nil || count[0] != 10 || count[ofSeals] != 10+ofSeals%7 || len(count) != 2 {
		t.Errorf("counted %v, %v", count, err)
	}
}

// badScratch cannot be written to beyond some bytes, or is not what was written to it.
type badScratch struct {
	inMemory
	room    int
	garbled bool
}

var errFull = errors.New("no space left on device")

func (b *badScratch) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > b.room {
		return 0, errFull
	}
	return b.inMemory.Write(p)
}

func (b *badScratch) ReadAt(p []byte, at int64) (int, error) {
	n, err := b.inMemory.ReadAt(p, at)
	if b.garbled {
		for i := range p[:n] {
			p[i] ^= 0xff
		}
	}
	return n, err
}

// TestABadScratchIsNoBadPacket: that we cannot go on says nothing about the packet.
func TestABadScratchIsNoBadPacket(t *testing.T) {
	b := newMemoryBook(t)
	b.addRun(t, 40, true, testScenario)
	o := b.options(t)
	packet := mustBuild(t, b, o)
	for _, tc := range []struct {
		name    string
		scratch func() Scratch
		want    string
	}{
		{"it is full", func() Scratch { return &badScratch{room: 100} }, errFull.Error()},
		{"it gives back other bytes", func() Scratch { return &badScratch{room: 1 << 30, garbled: true} }, "scratch"},
	} {
		o.Scratch, o.parts = tc.scratch(), 1
		if _, err := Build(t.Context(), io.Discard, b.log, o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: built: %v", tc.name, err)
		}
		r, err := Verify(t.Context(), bytes.NewReader(packet), int64(len(packet)), Trust{Keys: []string{b.vkey}}, VerifyOptions{Scratch: tc.scratch()})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: verified: %v, %+v", tc.name, err, r)
		}
	}
}
