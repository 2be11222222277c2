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

// secretNames are the values of all keys of the configuration that end in _env, each once.
func (c *Config) secretNames() []string {
	var out []string
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
				field := v.Field(i)
				switch {
				case !v.Type().Field(i).IsExported():
				case strings.HasSuffix(key, "_env") && field.Kind() == reflect.String:
					if name := field.String(); name != "" && !slices.Contains(out, name) {
						out = append(out, name)
					}
				default:
					walk(field)
				}
			}
		}
	}
	walk(reflect.ValueOf(c))
	return out
}
