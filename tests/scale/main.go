// Command scale takes an organisation through a run, and counts what that costs.
//
//	go -C tests run ./scale -accounts 1000 -regions 4 [-cell 1] [-first N] [-json FILE]
//
// The real functions (inject, confirm, confirm again for the seals) run as processes of
// their own, one call per cell, as Step Functions would call them; the sandbox is their
// cloud, its S3 keeps their ledgers, and its clock is put forward between the waves.
// Counted are requests by what they are for, appends to ledgers, and what each
// function needed of memory and processor. A canary that is not proven ends it: what
// failed costs something else.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"text/tabwriter"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == relayed {
		os.Exit(relay(os.Args[2:]))
	}
	var o options
	flag.IntVar(&o.accounts, "accounts", 1000, "`N` accounts")
	flag.IntVar(&o.regions, "regions", 4, "`N` regions in each, at most 8")
	flag.IntVar(&o.perCell, "cell", 1, "put `N` accounts into a cell")
	flag.IntVar(&o.parallel, "parallel", 4, "run functions of `N` cells at once")
	flag.IntVar(&o.first, "first", 0, "run the first `N` cells only (0: all), of the whole configuration")
	file := flag.String("json", "", "write what was counted to `FILE` as well")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o.progress = os.Stderr
	counted, err := simulate(ctx, o)
	if err == nil {
		err = write(os.Stdout, *file, counted)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// write prints what was counted.
func write(w io.Writer, file string, c Counted) error {
	fmt.Fprintf(w, "%d accounts x %d regions in %d cells: %d canaries, %d proven, %d sealed and immutable.\n\n",
		c.Accounts, c.Regions, c.Cells, c.Canaries, c.Proven, c.Protected)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "wave\trequests\ta canary\tacts\tsessions\tlisting\tarchive\tledger\tother\tappends a cell\tpeak MiB\tcpu ms a cell\t")
	for _, p := range c.Waves {
		per := func(n int) string { return fmt.Sprintf("%.2f", float64(n)/float64(c.Canaries)) }
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t%.0f\t%.0f\t\n", p.Name, p.Requests, per(p.Requests),
			per(p.For["acts"]), per(p.For["sessions"]), per(p.For["listing"]), per(p.For["archive"]), per(p.For["ledger"]), per(p.For["other"]),
			float64(p.Appends)/float64(c.Cells), float64(p.PeakKiB)/1024, float64(p.CPUMs)/float64(c.Cells))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
