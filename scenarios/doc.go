// Package scenarios is the catalogue of canaries, YAML data read strictly.
//
// A scenario file has the form of canary.Scenario; schema.json beside this file is
// generated from that type, so that an editor completes and checks what a person
// writes. Reading goes in three stages that all add to one list of errors, each
// with file, line and column: the YAML itself (tree.go), the schema (schema.go),
// and the rules that no schema can express (lint.go). A file that passes is one
// whose calls are on the allow-list, are undone, and can be found by the sweep.
package scenarios

import (
	"cmp"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/canary"
)

//go:embed aws/*.yaml kubernetes/*.yaml
var builtIn embed.FS

// builtInDir is what messages show for the files that come with the program.
const builtInDir = "scenarios"

// MaxBytes is the size of the largest scenario file that is read.
const MaxBytes = 256 << 10

// Checker knows the calls a driver can make, and their parameters.
type Checker interface {
	// CheckCall says why operation ("iam:CreateRole") with params may not be
	// made: it is not on the allow-list, or a parameter does not exist or has the
	// wrong type. Strings may still hold ${...} references. It does no I/O. An
	// error with the method ParamPath() []string is reported where that parameter
	// stands (["Tags", "0", "Key"]); several may be joined (errors.Join).
	CheckCall(operation string, params map[string]any) error
	// CheckAttempt says the same of the call of a step with a protection: whether it may
	// be attempted at all, once the protection has been seen.
	CheckAttempt(operation string, params map[string]any) error
	// CheckLook says the same of a call that looks at a protection.
	CheckLook(operation string, params map[string]any) error
}

// CheckerFunc makes a Checker of a function, for calls of all three sorts.
type CheckerFunc func(operation string, params map[string]any) error

// CheckAttempt calls f.
func (f CheckerFunc) CheckAttempt(operation string, params map[string]any) error {
	return f(operation, params)
}

// CheckLook calls f.
func (f CheckerFunc) CheckLook(operation string, params map[string]any) error {
	return f(operation, params)
}

// CheckCall calls f.
func (f CheckerFunc) CheckCall(operation string, params map[string]any) error {
	return f(operation, params)
}

// Options say which scenarios Load reads, and which of them it returns.
type Options struct {
	// Dirs are searched, with all their folders, for *.yaml and *.yml files beside
	// the built-in ones. Names that begin with a dot are skipped.
	Dirs []string
	// Include are patterns over ids in the form of path.Match ("aws/*"); none
	// means all. Exclude takes away from that. A pattern that matches nothing is
	// an error: a misspelt exclusion would run what somebody wanted to be left alone.
	Include, Exclude []string
	// Every, if given, keeps the scenarios of that cadence ("hourly"); one that no
	// scenario has is an error.
	Every string
	// Check is the driver's view of calls.
	Check Checker
}

// Load reads the built-in scenarios and those of o.Dirs and returns the chosen
// ones, sorted by id. Every file is read and checked, chosen or not. The error is
// an Errors when files are at fault: all faults of all files, sorted.
func Load(o Options) ([]canary.Scenario, error) {
	files, err := builtInFiles()
	if err != nil {
		return nil, err
	}
	for _, dir := range o.Dirs {
		own, err := dirFiles(dir)
		if err != nil {
			return nil, err
		}
		files = append(files, own...)
	}
	r, err := newReader(o.Check)
	if err != nil {
		return nil, err
	}
	all, errs := readAll(r, files)
	if len(errs) > 0 {
		return nil, errs
	}
	chosen, err := choose(all, o.Include, o.Exclude)
	if err != nil || o.Every == "" {
		return chosen, err
	}
	chosen = slices.DeleteFunc(chosen, func(s canary.Scenario) bool { return s.Schedule.Every != o.Every })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("no selected scenario runs %q: a cadence is hourly, daily or weekly", o.Every)
	}
	return chosen, nil
}

// Read reads one scenario. name is the file's name, for messages and for the rule
// that the last part of the id is the file's name. The error is an Errors.
func Read(name string, data []byte, check Checker) (canary.Scenario, error) {
	r, err := newReader(check)
	if err != nil {
		return canary.Scenario{}, err
	}
	s, _, errs := r.read(name, data)
	if len(errs) > 0 {
		return canary.Scenario{}, errs
	}
	return s, nil
}

// ReadFile is Read of a file on disk.
func ReadFile(name string, check Checker) (canary.Scenario, error) {
	data, err := readLimited(name)
	if err != nil {
		return canary.Scenario{}, err
	}
	return Read(name, data, check)
}

// file is a scenario file that has not been understood yet.
type file struct {
	name string
	data []byte
}

func builtInFiles() ([]file, error) {
	var files []file
	err := fs.WalkDir(builtIn, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := builtIn.ReadFile(p)
		files = append(files, file{path.Join(builtInDir, p), data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read built-in scenarios: %w", err)
	}
	return files, nil
}

func dirFiles(dir string) ([]file, error) {
	var files []file
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != dir && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(p); d.IsDir() || (ext != ".yaml" && ext != ".yml") {
			return nil
		}
		data, err := readLimited(p)
		files = append(files, file{p, data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read scenario directory %s: %w", dir, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("read scenario directory %s: it has no *.yaml file", dir)
	}
	return files, nil
}

// readLimited reads at most one byte more than a scenario may have, so that
// parse can say that it is too long. It refuses what is not a regular file (a
// pipe would block for ever); symbolic links are followed, as mounted
// configuration consists of them.
func readLimited(name string) ([]byte, error) {
	if info, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read scenario %s: not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read scenario %s: %w", name, err)
	}
	return data, nil
}

// readAll reads every file and requires that no two have the same id.
func readAll(r *reader, files []file) ([]canary.Scenario, Errors) {
	var all []canary.Scenario
	var errs Errors
	owner := map[string]string{}
	for _, f := range files {
		s, doc, bad := r.read(f.name, f.data)
		errs = append(errs, bad...)
		if s.ID == "" {
			continue
		}
		if first, taken := owner[s.ID]; taken {
			at := doc.locate([]string{"id"})
			errs = append(errs, Error{f.name, at.Line, at.Column, fmt.Sprintf("id %s is already taken by %s", quote(s.ID), first)})
			continue
		}
		owner[s.ID] = f.name
		all = append(all, s)
	}
	errs.sort()
	return all, errs
}

// choose returns the scenarios whose ids the patterns select, sorted by id.
func choose(all []canary.Scenario, include, exclude []string) ([]canary.Scenario, error) {
	included, err := matching(all, "include", include)
	if err != nil {
		return nil, err
	}
	excluded, err := matching(all, "exclude", exclude)
	if err != nil {
		return nil, err
	}
	var chosen []canary.Scenario
	for _, s := range all {
		if (len(include) == 0 || included[s.ID]) && !excluded[s.ID] {
			chosen = append(chosen, s)
		}
	}
	slices.SortFunc(chosen, func(a, b canary.Scenario) int { return cmp.Compare(a.ID, b.ID) })
	return chosen, nil
}

func matching(all []canary.Scenario, what string, patterns []string) (map[string]bool, error) {
	ids := map[string]bool{}
	for _, p := range patterns {
		found := false
		for _, s := range all {
			ok, err := path.Match(p, s.ID)
			if err != nil {
				return nil, fmt.Errorf("%s scenarios %q: %w", what, p, err)
			}
			if ok {
				ids[s.ID], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s scenarios %q: no scenario has such an id", what, p)
		}
	}
	return ids, nil
}
