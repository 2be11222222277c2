package report

import (
	"fmt"
	"io"
	"testing"

	"github.com/auditcanary/auditcanary/shared/run"
)

// BenchmarkTenThousandCanaries folds and renders a period of 10,000 canaries.
func BenchmarkTenThousandCanaries(b *testing.B) {
	t := &testing.T{}
	in := exampleInput(t)
	j := &journal{t: t, state: run.NewState(), at: day1}
	for i := range 50 {
		var doings []doing
		for k := range 200 {
			doings = append(doings, doing{scenario: k % 3, account: fmt.Sprintf("%012d", k)})
		}
		j.run(fmt.Sprintf("20261101-%06d", i), doings...)
	}
	in.State = j.state
	r := New(in)
	b.Run("fold", func(b *testing.B) {
		for b.Loop() {
			New(in)
		}
	})
	for format, write := range Renderers() {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				if err := write(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
