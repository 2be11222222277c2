package host

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"debug/gosym"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// deployed are the functions, each with the services of AWS that it may be able to call
// beside those by which any program finds its credentials; nil: whatever scenarios need.
var deployed = map[string][]string{
	"inject": nil, "sweep": nil, "trigger": nil,
	"confirm": {"backup", "cloudtrail", "cloudwatch", "cloudwatchlogs", "eventbridge", "guardduty", "iam", "kms", "s3", "secretsmanager", "securityhub", "sns", "sqs"},
	"report":  {"kms", "s3", "secretsmanager"},
	"packet":  {"kms", "s3", "secretsmanager"},
}

var (
	// credentialServices are what any program asks for credentials.
	credentialServices = []string{"signin", "sso", "ssooidc", "sts"}
	// reading are the names of operations that change nothing.
	reading = regexp.MustCompile(`^(Get|List|Describe|Lookup|Head|Receive|Filter)`)
	// writing is what a function that only looks may do all the same: keep its ledger and
	// its evidence, take from its queue what it has read, sign, and have a session.
	writing = []string{"s3.PutObject", "s3.CreateSession", "sqs.DeleteMessageBatch", "sqs.ChangeMessageVisibilityBatch", "kms.Sign"}
)

// maxZip is the size of the largest file for Lambda, in bytes (see tests/bundle).
const maxZip = 15_000_000

// TestFilesForLambdaHoldOnlyWhatTheFunctionNeeds: each is small, and what only looks has no
// code with which it could change anything in a cloud.
func TestFilesForLambdaHoldOnlyWhatTheFunctionNeeds(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(deployed)) {
		program, err := os.ReadFile(lambdaFile(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if n := zipped(t, program); n > maxZip {
			t.Errorf("%s: %d bytes as a zip file, more than %d", name, n, maxZip)
		}
		can, err := operations(program)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(can["s3"]) == 0 {
			t.Errorf("%s: no function of the S3 client is found in it: nothing was looked at", name)
		}
		may := deployed[name]
		if may == nil {
			// The table of calls is there, and still no more than it names: these clients
			// have hundreds of operations.
			if ec2 := can["ec2"]; len(ec2) == 0 || len(ec2) > 60 {
				t.Errorf("%s: %d operations of EC2", name, len(ec2))
			}
			continue
		}
		for _, problem := range beyond(can, may) {
			t.Errorf("%s could call %s", name, problem)
		}
	}
}

// beyond lists the operations that a function which only looks must not have.
func beyond(can map[string][]string, may []string) (problems []string) {
	for _, service := range slices.Sorted(maps.Keys(can)) {
		if slices.Contains(credentialServices, service) {
			continue
		}
		for _, op := range can[service] {
			if name := service + "." + op; !slices.Contains(may, service) || !reading.MatchString(op) && !slices.Contains(writing, name) {
				problems = append(problems, name)
			}
		}
	}
	return problems
}

func TestWhatAFunctionMustNotHaveIsNamed(t *testing.T) {
	can := map[string][]string{"ec2": {"DescribeVpcs"}, "s3": {"GetObject", "DeleteBucket", "PutObject"}, "sts": {"AssumeRole"}}
	if got := beyond(can, []string{"s3"}); !slices.Equal(got, []string{"ec2.DescribeVpcs", "s3.DeleteBucket"}) {
		t.Errorf("got %v", got)
	}
	// What acts is known by its functions.
	program, err := os.ReadFile(lambdaFile(t, "inject"))
	if err != nil {
		t.Fatal(err)
	}
	can, err = operations(program)
	if err != nil {
		t.Fatal(err)
	}
	if got := beyond(can, deployed["confirm"]); !slices.Contains(got, "iam.CreateUser") || !slices.Contains(got, "ec2.AuthorizeSecurityGroupIngress") {
		t.Errorf("inject could call, by its functions: %v", got)
	}
}

func zipped(t *testing.T, program []byte) int {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.Create("bootstrap")
	if err == nil {
		_, err = io.Copy(f, bytes.NewReader(program))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Len()
}

// clientMethod is the name of an operation of a client of the AWS SDK, as the linker has it.
var clientMethod = regexp.MustCompile(`^github\.com/aws/aws-sdk-go-v2/service/([a-z0-9]+)\.\(\*Client\)\.([A-Z][A-Za-z0-9]*)$`)

// notOperations are the exported methods that every client has.
var notOperations = map[string]bool{"Options": true}

// operations returns what a program can ask of AWS: the operations by service whose code
// was linked. It reads the table that Go's own stack traces need, which no stripping takes away.
func operations(program []byte) (map[string][]string, error) {
	funcs, err := functionNames(program)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, name := range funcs {
		if m := clientMethod.FindStringSubmatch(name); m != nil && !notOperations[m[2]] {
			out[m[1]] = append(out[m[1]], m[2])
		}
	}
	return out, nil
}

func functionNames(program []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("read the program: %w", err)
	}
	section, text := f.Section(".gopclntab"), f.Section(".text")
	if section == nil || text == nil {
		return nil, fmt.Errorf("read the program: no table of functions (.gopclntab)")
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read the table of functions: %w", err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return nil, fmt.Errorf("read the table of functions: %w", err)
	}
	names := make([]string, len(table.Funcs))
	for i, fn := range table.Funcs {
		names[i] = fn.Name
	}
	return names, nil
}
