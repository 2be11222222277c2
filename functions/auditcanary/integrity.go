package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
	"github.com/auditcanary/auditcanary/shared/trail"
	"github.com/auditcanary/auditcanary/shared/wire"
)

// integrityOptions are the flags of integrity.
type integrityOptions struct {
	store      string
	source     wire.ArchiveSource
	start, end string
	verbose    bool
}

func integrityCommand(o *options) *cobra.Command {
	var i integrityOptions
	cmd := &cobra.Command{
		Use:   "integrity",
		Short: "Validate CloudTrail's digest chains and every log file they sign for",
		Long: `Walks the chains of signed digests, the hourly ones and the backfill ones, and checks
every signature, how each digest follows the one before it, every log file they
sign for, and whether files lie there that none signs for.

Of the configured log store it goes on from the heads that the ledger holds, and
writes what it finds there: so that digests that are deleted, newest ones too, are
missed. With --trail-arn or --s3-bucket it validates any archive with the caller's
own credentials, without configuration or ledger.

It is stricter than "aws cloudtrail validate-logs", which passes a chain whose newest
digests are gone, files that no digest names, and hours in which nothing was logged.
What failed is said once and kept in the ledger: the next validation goes on behind it.
Exit code: 0 intact (from the ledger's heads on), 1 something is not, 2 something could
not be found out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return i.run(cmd, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&i.store, "log-store", "", "the configured log store of this name (default the only one)")
	f.StringVar(&i.source.TrailARN, "trail-arn", "", "the archive of this trail instead of the configured one")
	f.StringVar(&i.source.Bucket, "s3-bucket", "", "the archive in this bucket")
	f.StringVar(&i.source.Prefix, "s3-prefix", "", "what stands before AWSLogs/ there")
	f.StringSliceVar(&i.source.Accounts, "account-id", nil, "only this account (default the targets'; of a trail, its own); may be repeated")
	f.StringSliceVar(&i.source.Regions, "region", nil, "only this region (default the targets'; of a trail, its home region); may be repeated")
	f.StringVar(&i.start, "start-time", "", "digests from this time on, 2026-11-22 or 2026-11-22T10:00:00Z (default from the ledger's heads, or all)")
	f.StringVar(&i.end, "end-time", "", "digests up to this time (default now)")
	f.BoolVar(&i.verbose, "verbose", false, "print each digest and log file that was checked")
	return cmd
}

func (i *integrityOptions) run(cmd *cobra.Command, o *options) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	var opt run.IntegrityOptions
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"--start-time", i.start, &opt.From}, {"--end-time", i.end, &opt.Until}} {
		var err error
		if *t.to, err = timeOf(t.flag, t.text); err != nil {
			return err
		}
	}
	if i.verbose {
		list := w
		if o.json {
			list = cmd.ErrOrStderr()
		}
		opt.Checked = checkedTo(list)
	}
	var results []trail.Result
	keep := func(r trail.Result) { results = append(results, r) }
	did, where, err := i.validate(ctx, o, opt, keep)
	if err != nil {
		return err
	}
	if o.json {
		err = printJSON(w, newIntegrity(results, did))
	} else {
		printIntegrity(w, results, did, where)
	}
	if code := integrityCode(results); err == nil && code != 0 {
		return exitError(code)
	}
	return err
}

// validate walks the configured archive, or the one that the flags name. where says
// what becomes of what is found.
func (i *integrityOptions) validate(ctx context.Context, o *options, opt run.IntegrityOptions, each func(trail.Result)) (did trail.Validated, where string, err error) {
	if i.source.TrailARN != "" || i.source.Bucket != "" {
		if i.store != "" {
			return did, "", errors.New("--log-store, or --trail-arn and --s3-bucket: not both")
		}
		i.source.EndpointURL = os.Getenv("AWS_ENDPOINT_URL")
		a, err := wire.OpenArchive(ctx, i.source)
		if err != nil {
			return did, "", err
		}
		did, err = a.Custodian.Validate(ctx, trail.Validation{Places: a.Places, From: opt.From, Until: opt.Until, Checked: opt.Checked}, each)
		return did, "Nothing was written: no ledger remembers these heads.", err
	}
	cfg, err := o.load()
	if err != nil {
		return did, "", fmt.Errorf("%w\n(to validate an archive without a configuration, give --trail-arn or --s3-bucket)", err)
	}
	if opt.Places, err = cfg.IntegrityPlaces(i.store, i.source.Accounts, i.source.Regions); err != nil {
		return did, "", err
	}
	p := newProgress(os.Stderr)
	r, err := wire.Open(ctx, cfg, wire.Options{Version: version(), Progress: p.show})
	if err != nil {
		return did, "", err
	}
	did, err = r.Integrity(ctx, opt, each)
	p.done()
	return did, "Heads, findings and public keys are in the ledger.", err
}

// checkedTo prints each object that was checked, one at a time.
func checkedTo(w io.Writer) func(trail.Checked) {
	var mu sync.Mutex
	return func(c trail.Checked) {
		mu.Lock()
		defer mu.Unlock()
		what := "log file"
		if c.Digest {
			what = "digest"
		}
		line := fmt.Sprintf("%-12s %s %s", c.Status, what, c.Object)
		if c.Detail != "" {
			line += ": " + c.Detail
		}
		fmt.Fprintln(w, oneLine(line))
	}
}

// integrityCode: what is broken counts before what could not be found out.
func integrityCode(results []trail.Result) int {
	code := 0
	for _, r := range results {
		found := maps.Clone(r.More)
		if found == nil {
			found = map[trail.Status]int{}
		}
		for _, f := range r.Findings {
			if f.Kind == trail.NoDigests && f.Status == trail.Pending {
				f.Status = trail.Inconclusive // nothing was validated
			}
			found[f.Status]++
		}
		switch {
		case found[trail.Fail] > 0:
			return 1
		case found[trail.Inconclusive] > 0:
			code = 2
		}
	}
	return code
}

// chainResult says in a word how a chain is.
func chainResult(r trail.Result) string {
	switch integrityCode([]trail.Result{r}) {
	case 1:
		return "BROKEN"
	case 2:
		return "?"
	}
	return "intact"
}

func printIntegrity(w io.Writer, results []trail.Result, did trail.Validated, where string) {
	results = slices.SortedFunc(slices.Values(results), func(a, b trail.Result) int { return cmp.Compare(a.Chain.String(), b.Chain.String()) })
	var all trail.Counts
	pending := map[canary.Target]int{} // of a place, whichever chain will name them
	for _, r := range results {
		all.Digests, all.Logs, all.Pending = all.Digests+r.Counts.Digests, all.Logs+r.Counts.Logs, all.Pending+r.Counts.Pending
		pending[canary.Target{Account: r.Chain.Account, Region: r.Chain.Region}] += r.Counts.Pending
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ACCOUNT/REGION\tCHAIN\tDIGESTS\tLOG FILES\tIN NO DIGEST YET\tCOVERED\tRESULT")
	for _, r := range results {
		c := r.Counts
		row := []string{r.Chain.Account + "/" + r.Chain.Region, r.Chain.Trail, "-", "-", "-", "-", chainResult(r)}
		switch {
		case r.Chain.Trail == "" && row[6] == "intact":
			continue // there is nothing to say of its files but how many are pending
		case r.Chain.Trail == "":
			row[1] = "(its files)"
		case r.Chain.Backfill:
			row[1] += " (backfill)"
		default:
			row[4] = fmt.Sprint(pending[canary.Target{Account: r.Chain.Account, Region: r.Chain.Region}])
		}
		if r.Chain.Trail != "" {
			row[2] = of(c.Digests, c.DigestsInvalid+c.DigestsMissing+c.DigestsUnknown)
			row[3] = of(c.Logs, c.LogsInvalid+c.LogsMissing+c.LogsUnknown)
		}
		if !r.First.IsZero() {
			row[5] = r.First.UTC().Format(time.RFC3339) + " to " + r.Last.UTC().Format(time.RFC3339)
		}
		for i := range row {
			row[i] = oneLine(row[i])
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush()
	for _, r := range results {
		printChainFindings(w, r)
	}
	fmt.Fprintf(w, "\n%d digests and %d log files valid, %d log files in no digest yet. %s\n", all.Digests, all.Logs, all.Pending, where)
	fmt.Fprintf(w, "As of %s by the store's clock; %d list and %d get requests, %d for keys, %d MB read.\n",
		did.AsOf.UTC().Format(time.RFC3339), did.Lists, did.Gets, did.Keys, did.Bytes>>20)
}

// of shows how many are valid of how many.
func of(valid, other int) string {
	if other == 0 {
		return fmt.Sprint(valid)
	}
	return fmt.Sprintf("%d of %d", valid, valid+other)
}

// mostFindings of a chain that are shown; --json has them all.
const mostFindings = 20

func printChainFindings(w io.Writer, r trail.Result) {
	shown, others := 0, r.More[trail.Fail]+r.More[trail.Inconclusive]
	for _, f := range r.Findings {
		if f.Status == trail.Pending {
			continue // counted in the table
		}
		if shown == 0 {
			fmt.Fprintf(w, "\n%s\n", oneLine(r.Chain.String()))
		}
		if shown++; shown > mostFindings {
			others++
			continue
		}
		mark := "FAIL"
		if f.Status == trail.Inconclusive {
			mark = "?   "
		}
		fmt.Fprintf(w, "  %s %s: %s\n", mark, f.Kind, oneLine(f.Detail))
		if f.Object != "" {
			fmt.Fprintf(w, "       %s\n", oneLine(f.Object))
		}
		if !f.From.IsZero() && !f.Until.IsZero() {
			fmt.Fprintf(w, "       %s to %s\n", f.From.UTC().Format(time.RFC3339), f.Until.UTC().Format(time.RFC3339))
		}
	}
	if others > 0 {
		fmt.Fprintf(w, "  and %d more: see --json and the ledger\n", others)
	}
}

// integrity is what --json prints.
type integrity struct {
	AsOf     time.Time        `json:"as_of"`
	Requests map[string]int   `json:"requests"`
	Bytes    int64            `json:"bytes"` // uncompressed
	Chains   []integrityChain `json:"chains"`
}

type integrityChain struct {
	trail.Chain
	Result   string          `json:"result"` // intact, broken, inconclusive
	Counts   trail.Counts    `json:"counts"`
	First    time.Time       `json:"first,omitzero"`
	Last     time.Time       `json:"last,omitzero"`
	Head     *trail.Head     `json:"head,omitempty"`
	Findings []trail.Finding `json:"findings"`
	// More findings than are listed, by their status.
	More map[trail.Status]int `json:"more,omitempty"`
}

func newIntegrity(results []trail.Result, did trail.Validated) integrity {
	out := integrity{AsOf: did.AsOf, Requests: map[string]int{"list": did.Lists, "get": did.Gets, "keys": did.Keys}, Bytes: did.Bytes, Chains: []integrityChain{}}
	for _, r := range results {
		c := integrityChain{Chain: r.Chain, Counts: r.Counts, First: r.First, Last: r.Last, Head: r.Head, Findings: r.Findings, More: r.More}
		c.Result = [...]string{"intact", "broken", "inconclusive"}[integrityCode([]trail.Result{r})]
		if c.Findings == nil {
			c.Findings = []trail.Finding{}
		}
		out.Chains = append(out.Chains, c)
	}
	return out
}
