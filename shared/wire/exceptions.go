package wire

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/exception"
	"github.com/auditcanary/auditcanary/shared/run"
)

// Exceptions is the register of accepted limitations. Left out, nothing is excepted.
type Exceptions struct {
	// File of the register, YAML (auditcanary exceptions schema). Each run and confirm
	// writes it into the ledger when it has changed; what is shown is read from there.
	File string `yaml:"file"`
	// MaxDays is the longest time that an exception may hold (default 180, at most 730).
	// One that is longer does not count.
	MaxDays int `yaml:"max_days"`
}

// mostDays bounds what may be configured: what is accepted for longer is no exception.
const mostDays = 730

func (x *Exceptions) check(bad complain) {
	if x == nil {
		return
	}
	if blank(x.File) {
		bad("exceptions.file", "exceptions need the file of the register")
	}
	if x.MaxDays < 0 || x.MaxDays > mostDays {
		bad("exceptions.max_days", "exceptions.max_days %d: from 1 to %d", x.MaxDays, mostDays)
	}
}

// register is how a run reads the register in use; nil: none is configured.
func (c *Config) register() func() (exception.Register, error) {
	if c.Exceptions == nil {
		return nil
	}
	return func() (exception.Register, error) {
		r, err := c.ReadRegister(c.path(c.Exceptions.File))
		r.Source = c.Exceptions.File
		if u, uerr := user.Current(); uerr == nil {
			r.By = u.Username
		}
		r.By = cmp.Or(os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), r.By)
		return r, err
	}
}

// ReadRegister reads the file of a register by the rules of the configuration; nil: by
// the default ones. What is wrong with it stands in the error, a line each.
func (c *Config) ReadRegister(file string) (exception.Register, error) {
	f, err := os.Open(file)
	if err != nil {
		return exception.Register{}, fmt.Errorf("read the register of exceptions: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, exception.MaxBytes+1))
	if err != nil {
		return exception.Register{}, fmt.Errorf("read the register of exceptions %s: %w", file, err)
	}
	r, err := exception.Read(file, data)
	if err != nil {
		return exception.Register{}, err
	}
	mapping, err := scenarios.ReadControls()
	if err != nil {
		return exception.Register{}, fmt.Errorf("read the register of exceptions: %w", err)
	}
	r.ControlsVersion, r.MaxDays = mapping.Version, exception.DefaultMaxDays
	if c != nil && c.Exceptions != nil {
		r.MaxDays = cmp.Or(c.Exceptions.MaxDays, r.MaxDays)
	}
	return r, nil
}

// RegisterInUse is the register that the configuration names, whatever the ledger has.
// It reports false if there is none.
func (c *Config) RegisterInUse() (exception.Register, bool, error) {
	read := c.register()
	if read == nil {
		return exception.Register{}, false, nil
	}
	r, err := read()
	return r, true, err
}

// Registrar is a run that can do no more than write the register in use down.
func Registrar(c *Config, r *run.Run) *run.Run {
	r.Register = c.register()
	return r
}
