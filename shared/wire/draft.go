package wire

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"unicode"

	"github.com/auditcanary/auditcanary/shared/aws"
)

// Draft is a configuration that is about to be written for the first time.
type Draft struct {
	// Origin of the ledger.
	Origin   string
	Accounts []DraftAccount
	Regions  []string
	// ExternalIDEnv names the environment variable of the roles' external id; "" none.
	ExternalIDEnv string
	// The archive: its bucket, the bucket's region, what stands before AWSLogs/, and the role that reads it.
	Bucket, BucketRegion, Prefix, ReaderRole string
	// Organization (o-...) if an organisation trail delivers there; ManagementAccount lists its accounts.
	Organization, ManagementAccount string
	// The ledger is in a directory or in a bucket.
	LedgerDir, LedgerBucket, LedgerRegion, LedgerPrefix string
	// Its key is in a file or in an environment variable.
	KeyFile, KeyEnv string
	// InspectorRole is path and name of the role that reads settings; "" none.
	InspectorRole string
}

// DraftAccount is a target.
type DraftAccount struct {
	Account, Cell, RoleARN string
	Fixtures               map[string]map[string]string // as Target's
}

//go:embed draft.yaml
var draftYAML string

// quoted is a value that YAML takes for the text that it is, whatever is in it.
func quoted(s string) (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}

// draftTemplate is a function, so that a program which writes no draft links no templates:
// with them the linker keeps every method there is.
func draftTemplate() *template.Template {
	return template.Must(template.New("draft.yaml").Funcs(template.FuncMap{
		"q": quoted,
		"list": func(all []string) (string, error) {
			b, err := json.Marshal(all)
			return strings.ReplaceAll(string(b), ",", ", "), err
		},
	}).Parse(draftYAML))
}

// Render is the file. It loads without an error, or the error says what is missing, as
// Load would.
func (d Draft) Render(file string) ([]byte, error) {
	var b bytes.Buffer
	if err := draftTemplate().Execute(&b, d); err != nil {
		return nil, fmt.Errorf("draft of %s: %w", file, err)
	}
	if _, err := Parse(file, b.Bytes()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// PutIntoCells divides the accounts, in their order, into cells of so many.
func (d *Draft) PutIntoCells(size int) {
	for i := range d.Accounts {
		d.Accounts[i].Cell = fmt.Sprintf("c%03d", i/size+1)
	}
}

// Take takes what stacks put out: fixtures, and the ARNs of injector roles. What all
// regions of an account have alike is put under "*". It returns the accounts of which no
// stack was given.
func (d *Draft) Take(stacks []Stack) (without []string) {
	for i := range d.Accounts {
		a := &d.Accounts[i]
		a.Fixtures = map[string]map[string]string{}
		for _, s := range stacks {
			if s.Account != a.Account || !slices.Contains(d.Regions, s.Region) {
				continue
			}
			a.RoleARN = cmp.Or(s.InjectorRole, a.RoleARN)
			a.Fixtures[s.Region] = s.Fixtures
		}
		if len(a.Fixtures) == 0 {
			without = append(without, a.Account)
			continue
		}
		a.Fixtures = shareEqual(a.Fixtures, d.Regions)
	}
	return without
}

// shareEqual moves what all regions have alike under "*".
func shareEqual(fixtures map[string]map[string]string, regions []string) map[string]map[string]string {
	all := map[string]string{}
	for name, id := range fixtures[regions[0]] {
		if !slices.ContainsFunc(regions, func(r string) bool { return fixtures[r][name] != id }) {
			all[name] = id
		}
	}
	out := map[string]map[string]string{}
	for region, own := range fixtures {
		own = maps.Clone(own)
		maps.DeleteFunc(own, func(name, _ string) bool { _, shared := all[name]; return shared })
		if len(own) > 0 {
			out[region] = own
		}
	}
	if len(all) > 0 {
		out["*"] = all
	}
	return out
}

// Stack is what one stack of the member template put out, in an account and region.
type Stack struct {
	Account, Region string
	InjectorRole    string
	Fixtures        map[string]string
}

// maxStacks bounds a file of stacks, bytes.
const maxStacks = 64 << 20

var stackID = regexp.MustCompile(`^arn:aws[a-z-]*:cloudformation:([a-z0-9-]+):([0-9]{12}):stack/.+$`)

// ReadStacks reads the answers of `aws cloudformation describe-stacks`, one after the
// other. Outputs are taken by name: FixtureSecurityGroup is the fixture security_group,
// InjectorRoleArn the role; those that are neither are left alone.
func ReadStacks(name string, r io.Reader) ([]Stack, error) {
	limited := &io.LimitedReader{R: r, N: maxStacks + 1}
	dec := json.NewDecoder(limited)
	var out []Stack
	for n := 1; ; n++ {
		var answer struct {
			Stacks []struct {
				StackID string `json:"StackId"`
				Outputs []struct{ OutputKey, OutputValue string }
			}
		}
		err := dec.Decode(&answer)
		switch {
		case limited.N == 0:
			return nil, fmt.Errorf("%s: more than %d bytes", name, maxStacks)
		case errors.Is(err, io.EOF) && len(out) > 0:
			return out, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%s: no stack in it: want what aws cloudformation describe-stacks --stack-name NAME prints", name)
		case err != nil:
			return nil, fmt.Errorf("%s: answer %d: %w", name, n, err)
		}
		if len(answer.Stacks) == 0 {
			return nil, fmt.Errorf("%s: answer %d has no Stacks: want what aws cloudformation describe-stacks --stack-name NAME prints, without --query", name, n)
		}
		for _, s := range answer.Stacks {
			m := stackID.FindStringSubmatch(s.StackID)
			if m == nil || !regionID.MatchString(m[1]) {
				return nil, fmt.Errorf("%s: answer %d: StackId %.80q is not the ARN of a stack", name, n, s.StackID)
			}
			one := Stack{Account: m[2], Region: m[1], Fixtures: map[string]string{}}
			if slices.ContainsFunc(out, func(o Stack) bool { return o.Account == one.Account && o.Region == one.Region }) {
				return nil, fmt.Errorf("%s: answer %d: a second stack in %s/%s", name, n, one.Account, one.Region)
			}
			for _, o := range s.Outputs {
				if o.OutputKey == "InjectorRoleArn" {
					one.InjectorRole = o.OutputValue
				}
				if fixture, ok := strings.CutPrefix(o.OutputKey, "Fixture"); ok && o.OutputValue != "" {
					one.Fixtures[snake(fixture)] = o.OutputValue
				}
			}
			out = append(out, one)
		}
	}
}

// snake is SecurityGroup as security_group.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// Members asks the organisation for its id, management account and active accounts, with
// the credentials at hand or, where those may not, through the inspector role of its
// management account.
func Members(ctx context.Context, inspectorRole, externalIDEnv, region, endpoint string) (aws.Membership, error) {
	c := &Config{LogStores: []LogStore{{Region: region}}, AWS: AWS{EndpointURL: endpoint}, appID: aws.LookingAppID}
	c.defaults()
	base, _, err := c.baseAWS(ctx)
	if err != nil {
		return aws.Membership{}, err
	}
	return aws.Members(ctx, base, inspectorRole, os.Getenv(externalIDEnv))
}
