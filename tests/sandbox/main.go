// Command sandbox is a small AWS organisation on loopback, with its log archive.
//
//	go -C tests run ./sandbox -listen 127.0.0.1:0 -data DIR [-faults FILE] [-speed N] [-ahead 0s] [-delay 5m] [-accounts 2] [-regions 2] [-include aws/*]
//
// One address serves all services of all accounts and regions. The first line
// on standard output is JSON and says where everything is:
//
//	{"ready":true,"config":"DIR/auditcanary.yaml","env":{"AWS_ACCESS_KEY_ID":"...", ...}}
//
// With that environment and that configuration file the product's own binaries
// run against it as they run against AWS. What a test wants to know of the
// sandbox itself is under /_sandbox/ (see admin.go). It ends on SIGTERM.
//
// Its clock runs as the real one does, N times as fast with -speed N, and not at
// all with -speed 0. It can be put forward at any time:
//
//	curl -d '{"advance": "1h"}' $AWS_ENDPOINT_URL/_sandbox/time
//
// When that is answered, everything that was due in that hour has been delivered,
// each thing at its own time. So a test need not wait, and cannot be too early.
//
// What is recorded rings the alerts of a security team, some seconds later: each account
// forwards its events to one bus, where rules pick theirs and tell topics, which
// tell people and a queue (cloud.AlertTapURL).
//
// What goes wrong is data: -faults FILE. Package fault has the words, with an
// example of each; the folder faults has a file for every way to lose a record.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/auditcanary/auditcanary/tests/sandbox/archive"
	"github.com/auditcanary/auditcanary/tests/sandbox/cloud"
	"github.com/auditcanary/auditcanary/tests/sandbox/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	opts, err := parseFlags(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err == nil:
		err = run(ctx, opts, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	listen string
	data   string // absolute
	faults *fault.Set
	speed  float64
	ahead  time.Duration
	delay  time.Duration // average of delivery
	world  cloud.Extent
	// include is what the configuration selects of the scenarios.
	include []string
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	var faults string
	f := flag.NewFlagSet("sandbox", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `ADDRESS` to serve on; port 0 takes a free one")
	f.StringVar(&o.data, "data", "", "keep the archive, the configuration and the signing key in `DIR`")
	f.StringVar(&faults, "faults", "", "let go wrong what `FILE` says")
	f.Float64Var(&o.speed, "speed", 1, "run the clock `N` times as fast as the real one; 0: it stands still until it is put forward")
	f.DurationVar(&o.ahead, "ahead", 0, "start the clock `DURATION` after the real time")
	f.DurationVar(&o.delay, "delay", 5*time.Minute, "deliver records this long after the call, on `AVERAGE`, by the sandbox's clock")
	accounts := f.Int("accounts", len(cloud.TargetAccounts()), "have `N` accounts in which canaries run")
	regions := f.Int("regions", len(cloud.Regions()), "have `N` regions, at most 8")
	include := f.String("include", "aws/*", "select the scenarios of these `PATTERNS`, with commas between them")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.world, o.include = cloud.LargeExtent(*accounts, *regions), strings.Split(*include, ",")
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.data == "":
		return o, errors.New("-data DIR is missing")
	case o.speed != 0 && !(o.speed >= 1 && o.speed <= 1e6):
		return o, fmt.Errorf("-speed %v: want 1 to 1000000, or 0", o.speed)
	case o.ahead < 0:
		return o, fmt.Errorf("-ahead %v: want 0 or more", o.ahead)
	case o.delay <= 0:
		return o, fmt.Errorf("-delay %v: want more than 0", o.delay)
	}
	// Its credentials are no secrets and its admin side asks for none.
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return o, fmt.Errorf("-listen: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return o, fmt.Errorf("-listen %s: only a loopback address is allowed", o.listen)
	}
	// The archive changes the working directory.
	if o.data, err = filepath.Abs(o.data); err != nil {
		return o, fmt.Errorf("-data: %w", err)
	}
	o.faults = &fault.Set{}
	if faults != "" {
		set, err := fault.Load(faults)
		if err != nil {
			return o, err
		}
		o.faults.Replace(set)
	}
	return o, nil
}

// homeRegion is where the archive is, and where global services are recorded.
const homeRegion = "us-east-1"

// ready is the first line on standard output.
type ready struct {
	Ready  bool              `json:"ready"`
	Config string            `json:"config"`
	Env    map[string]string `json:"env"`
}

// run serves until ctx ends, then delivers what is pending and stops.
func run(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	if err := os.MkdirAll(o.data, 0o700); err != nil {
		return err
	}
	logger := log.New(stderr, "sandbox: ", log.LstdFlags)
	now := newClock(func() time.Time { return time.Now().Add(o.ahead) }, o.speed)
	o.faults.Start(now.Now)
	// What must still be done when ctx has ended has its own time.
	closing := func(close func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err = errors.Join(err, close(ctx))
	}

	world := cloud.WorldOf(now, o.world)
	var scopes []archive.Scope
	for _, account := range o.world.Accounts {
		for _, region := range o.world.Regions {
			scopes = append(scopes, archive.Scope{Account: account, Region: region})
		}
	}
	store, err := archive.Open(ctx, archive.Config{
		Dir: filepath.Join(o.data, "s3"), Clock: now, Buckets: archive.WorldBuckets(world),
	})
	if err != nil {
		return err
	}
	defer closing(store.Close)
	for _, o := range archive.WorldObjects(world) {
		if _, err := store.Put(ctx, o); err != nil {
			return err
		}
	}

	delivery := archive.NewDelivery(archive.DeliveryConfig{
		Trail: archive.WorldTrail(scopes...), Clock: now, Bucket: store, Faults: o.faults,
		Seed: 1, Delay: delayAround(o.delay),
		Report: func(err error) { logger.Print(err) },
	})
	defer closing(delivery.Close)

	plane, err := cloud.New(cloud.Options{
		Clock: now, World: world, Sink: delivery, Faults: o.faults, S3: store, Delivered: delivery.Latest,
		PublicKeys: func(region string, start, end time.Time) (out []cloud.PublicKey) {
			for _, k := range delivery.PublicKeys(region, start, end) {
				out = append(out, cloud.PublicKey(k))
			}
			return out
		},
	})
	if err != nil {
		return err
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	desk, err := newDesk(url, now.Now, o.faults)
	if err != nil {
		return err
	}
	chat := newChat(url, now.Now, o.faults)
	server := &http.Server{
		Handler: &front{
			plane: plane, admin: newAdmin(plane, o.faults, delivery, now, desk, chat),
			desk: http.StripPrefix(deskPrefix, desk), chat: http.StripPrefix(chatPrefix, chat),
		},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          logger,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer closing(func(ctx context.Context) error {
		// A connection on which nothing was asked yet would be waited for five seconds.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if server.Shutdown(ctx) == nil {
			return nil
		}
		return server.Close()
	})

	config, err := writeConfig(o.data, url, listener.Addr().(*net.TCPAddr).IP.String(), o.world, o.include)
	if err != nil {
		return err
	}
	if err := permit(plane, config); err != nil {
		return err
	}
	key := plane.Runner()
	line, err := json.Marshal(ready{Ready: true, Config: config, Env: map[string]string{
		"AWS_ACCESS_KEY_ID":     key.ID,
		"AWS_SECRET_ACCESS_KEY": key.Secret,
		"AWS_REGION":            homeRegion,
		"AWS_ENDPOINT_URL":      url,
		jiraUserEnv:             jiraUser,
		jiraTokenEnv:            jiraToken,
		slackTokenEnv:           slackToken,
	}})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s\n", line); err != nil {
		return fmt.Errorf("say that the sandbox is ready: %w", err)
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// delayAround scales CloudTrail's usual delays to another average.
func delayAround(average time.Duration) archive.Delay {
	usual := archive.UsualDelay
	scale := float64(average) / float64((usual.Min+usual.Mode+usual.Max)/3)
	times := func(d time.Duration) time.Duration { return time.Duration(float64(d) * scale) }
	return archive.Delay{Min: times(usual.Min), Mode: times(usual.Mode), Max: times(usual.Max)}
}
