// Command shot takes a picture of a page, for the README or to look at.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/auditcanary/auditcanary/tests/browser"
)

func main() {
	var v browser.View
	out := flag.String("o", "page.png", "file to write: a PNG, or a PDF as it prints")
	whole := flag.Bool("whole", false, "the whole page, not only what the window shows")
	js := flag.String("eval", "", "evaluate this in the page before")
	flag.IntVar(&v.Width, "width", 1440, "of the window, CSS pixels")
	flag.IntVar(&v.Height, "height", 900, "of the window, CSS pixels")
	flag.BoolVar(&v.Dark, "dark", false, "as a reader who prefers dark colours sees it")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: shot [flags] FILE.html")
		os.Exit(2)
	}
	if err := shoot(flag.Arg(0), v, *js, *whole, *out); err != nil {
		fmt.Fprintln(os.Stderr, "shot:", err)
		os.Exit(1)
	}
}

func shoot(page string, v browser.View, js string, whole bool, out string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	page, err := filepath.Abs(page)
	if err != nil {
		return err
	}
	profile, err := os.MkdirTemp("", "shot")
	if err != nil {
		return err
	}
	defer os.RemoveAll(profile)
	b, err := browser.Start(ctx, profile)
	if err != nil {
		return err
	}
	defer b.Close()
	p, err := b.Open("file://"+page, v)
	if err != nil {
		return err
	}
	if err := p.Wait("document.documentElement.dataset.ready"); err != nil {
		return err
	}
	if js != "" {
		if err := p.Eval(js, nil); err != nil {
			return err
		}
	}
	take := func() ([]byte, error) { return p.Screenshot(whole) }
	if filepath.Ext(out) == ".pdf" {
		take = p.PDF
	}
	picture, err := take()
	if err != nil {
		return err
	}
	for _, c := range p.Complaints() {
		fmt.Fprintln(os.Stderr, "the page complains:", c)
	}
	if err := os.WriteFile(out, picture, 0o644); err != nil {
		return fmt.Errorf("write the picture: %w", err)
	}
	return nil
}
