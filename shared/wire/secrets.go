package wire

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/shared/aws"
)

// fetchSecrets puts the values of secrets in the place of their ARNs: of the environment
// variables that the configuration names, and of no other. A variable that is not set is
// left alone: not every function needs, or may read, every secret. Errors name the
// variable, never a value.
func (c *Config) fetchSecrets(ctx context.Context) error {
	var names []string
	for _, name := range c.secretNames() {
		if aws.IsSecret(os.Getenv(name)) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return err
	}
	base.AppID = "" // a call of the platform's, not of a canary: no record of it is ours
	for _, name := range names {
		value, err := aws.Secret(ctx, base, os.Getenv(name))
		if err == nil {
			err = os.Setenv(name, value)
		}
		if err != nil {
			return fmt.Errorf("environment variable %s: %w", name, err)
		}
	}
	return nil
}

// namedSecret is an environment variable that the configuration names.
type namedSecret struct{ field, env string }

// secretNames are the variables of namedSecrets.
func (c *Config) secretNames() []string {
	var out []string
	for _, s := range c.namedSecrets() {
		out = append(out, s.env)
	}
	return out
}

// namedSecrets are the values of all keys of the configuration that end in _env, each once,
// with the key where it stands first.
func (c *Config) namedSecrets() (out []namedSecret) {
	var walk func(at string, v reflect.Value)
	walk = func(at string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(at, v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(fmt.Sprintf("%s.%d", at, i), v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
				field, below := v.Field(i), at
				if key != "" { // else it is inline
					below = strings.TrimPrefix(at+"."+key, ".")
				}
				switch {
				case !v.Type().Field(i).IsExported():
				case strings.HasSuffix(key, "_env") && field.Kind() == reflect.String:
					env := field.String()
					if env != "" && !slices.ContainsFunc(out, func(s namedSecret) bool { return s.env == env }) {
						out = append(out, namedSecret{below, env})
					}
				default:
					walk(below, field)
				}
			}
		}
	}
	walk("", reflect.ValueOf(c))
	return out
}
