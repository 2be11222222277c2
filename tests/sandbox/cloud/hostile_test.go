package cloud

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/aws/aws-sdk-go-v2/aws"
)

type stillClock struct{ t time.Time }

func (c stillClock) Now() time.Time                  { return c.t }
func (c stillClock) Until(t time.Time) time.Duration { return t.Sub(c.t) }

type noSink struct{}

func (noSink) Emit(string, string, Record)                     {}
func (noSink) EmitAfter(string, string, Record, time.Duration) {}

func quiet(t testing.TB) *Cloud {
	t.Helper()
	c, err := New(Options{Clock: stillClock{time.Now()}, Sink: noSink{}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// signed is a request of the target account's root user, signed by the SDK's signer.
func signed(t testing.TB, c *Cloud, service, method, path, target, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	r.RequestURI = ""
	if target != "" {
		r.Header.Set("X-Amz-Target", target)
	}
	hash := sha256Hex([]byte(body))
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	}
	k := c.RootKey(TargetAccounts()[0])
	err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}, r, hash, service, "us-east-1", time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func answer(c *Cloud, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w
}

func TestHostileRequestsGetAnError(t *testing.T) {
	deep := strings.Repeat("a.", 40) + "b=1"
	for _, tc := range []struct {
		name, service, method, path, target, body string
		status                                    int
		says                                      string
	}{
		{"no operation", "iam", "POST", "/", "", "", 501, "has no operation iam:"},
		{"unknown operation", "iam", "POST", "/", "", "Action=DeleteAccount", 501, "iam:DeleteAccount"},
		{"unknown service", "glacier", "POST", "/", "", "", 501, "glacier"},
		{"deep parameters", "iam", "POST", "/", "", "Action=GetRole&" + deep, 400, "MalformedQueryString"},
		{"a value that is a structure", "iam", "POST", "/", "", "Action=GetRole&RoleName=a&RoleName.x=b", 400, "MalformedQueryString"},
		{"a huge list index", "iam", "POST", "/", "", "Action=ListRoles&Tags.member.999999999.Key=a", 200, "ListRolesResult"},
		{"a structure for a string", "iam", "POST", "/", "", "Action=GetRole&RoleName.1=x", 404, "NoSuchEntity"},
		{"no form", "ec2", "POST", "/", "", "%zz", 400, "MalformedQueryString"},
		{"no target", "kms", "POST", "/", "", "{}", 400, "UnknownOperationException"},
		{"no JSON", "kms", "POST", "/", "TrentService.DisableKey", "<xml>", 400, "SerializationException"},
		{"JSON of another type", "kms", "POST", "/", "TrentService.DisableKey", `{"KeyId":["x"]}`, 400, "NotFoundException"},
		{"a list for a timestamp", "cloudtrail", "POST", "/", "CloudTrail_20131101.ListPublicKeys", `{"StartTime":[]}`, 400, "SerializationException"},
		{"a name with markup", "iam", "POST", "/", "", "Action=GetRole&RoleName=%3Cscript%3E", 404, "&lt;script&gt;"},
		{"the S3 root", "s3", "GET", "/", "", "", 501, "NotImplemented"},
		{"an S3 sub-resource it does not have", "s3", "PUT", "/org-trail-archive?accelerate", "", "", 405, "MethodNotAllowed"},
		{"an object's sub-resource it does not have", "s3", "GET", "/org-trail-archive/k?torrent", "", "", 501, "torrent"},
		{"a key of dots", "s3", "GET", "/org-trail-archive/../../etc", "", "", 403, "AccessDenied"},
		{"a bucket policy that is a number", "s3", "PUT", "/auditcanary-111122223333-us-east-1?policy", "", "42", 400, "MalformedPolicy"},
		{"a policy of nothing but brackets", "s3", "PUT", "/auditcanary-111122223333-us-east-1?policy", "", strings.Repeat("[", 10000), 400, "MalformedPolicy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := quiet(t)
			w := answer(c, signed(t, c, tc.service, tc.method, tc.path, tc.target, tc.body))
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) {
				t.Errorf("%d %s\nwant %d and %q", w.Code, w.Body, tc.status, tc.says)
			}
		})
	}
}

func TestWhatIsNotSignedAsSentIsRefused(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"a changed body":           func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("Action=ListRoles&x=y")) },
		"a changed method":         func(r *http.Request) { r.Method = "PUT" },
		"a changed path":           func(r *http.Request) { r.URL.Path = "/x" },
		"a changed query":          func(r *http.Request) { r.URL.RawQuery = "Action=DeleteRole" },
		"a changed host":           func(r *http.Request) { r.Host = "example.com" },
		"an added session token":   func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") },
		"a changed region":         func(r *http.Request) { replaceAuth(r, "us-east-1", "eu-west-1") },
		"a changed service":        func(r *http.Request) { replaceAuth(r, "/iam/", "/sts/") },
		"a signature without host": func(r *http.Request) { replaceAuth(r, "host;", "") },
		"no signature":             func(r *http.Request) { r.Header.Del("Authorization") },
		"another algorithm":        func(r *http.Request) { replaceAuth(r, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256") },
	} {
		t.Run(name, func(t *testing.T) {
			c := quiet(t)
			r := signed(t, c, "iam", "POST", "/", "", "Action=ListRoles")
			change(r)
			if w := answer(c, r); w.Code != 403 && w.Code != 400 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if len(c.Calls()) != 0 {
				t.Error("it counted as a call")
			}
		})
	}
	c := quiet(t)
	if w := answer(c, signed(t, c, "iam", "POST", "/", "", "Action=ListRoles")); w.Code != 200 {
		t.Errorf("unchanged: %d %s", w.Code, w.Body)
	}
}

func replaceAuth(r *http.Request, from, to string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
}

func TestTheDateIsTheSandboxs(t *testing.T) {
	now := time.Now().Add(1000 * time.Hour)
	c, err := New(Options{Clock: stillClock{now}, Sink: noSink{}})
	if err != nil {
		t.Fatal(err)
	}
	want := now.UTC().Format(http.TimeFormat)
	if w := answer(c, signed(t, c, "iam", "POST", "/", "", "Action=ListRoles")); w.Header()["Date"][0] != want {
		t.Errorf("Date %q, want %q", w.Header()["Date"], want)
	}
}

func FuzzDecodeForm(f *testing.F) {
	f.Add([]byte("Action=CreateRole&Version=2010-05-08&Tags.member.1.Key=a&Tags.member.1.Value=b"))
	f.Add([]byte("Action=X&IpPermissions.1.IpRanges.1.CidrIp=192.0.2.1%2F32&a.1=x&a.2.b=y"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, params, err := decodeForm(body)
		if err == nil {
			if _, err := json.Marshal(lowerNames(params)); err != nil {
				t.Errorf("not representable in a record: %v", err)
			}
		}
	})
}

// The permissions asked for are those of AWS's Service Authorization Reference:
// the action exists, it takes that kind of resource, it knows those condition
// keys, and it reads or writes as the table of operations says.
func TestNeedsAreAWSs(t *testing.T) {
	raw, err := os.ReadFile("testdata/iam-data/actions.json")
	if err != nil {
		t.Fatal(err)
	}
	var reference map[string]struct {
		Level           string
		Resources, Keys []string
	}
	if err := json.Unmarshal(raw, &reference); err != nil {
		t.Fatal(err)
	}
	// Keys every request may have: AWS's global ones.
	global := regexp.MustCompile(`^(aws|iam):resourcetag/`)
	template := regexp.MustCompile(`\$\{[^}]*\}|<[^>]*>`)
	for name, svc := range services() {
		for op, o := range svc.ops {
			if o.needs == nil {
				continue
			}
			c := quiet(t)
			k := richCall(c, name, op)
			for _, n := range o.needs(k) {
				ref, known := reference[n.action]
				if !known {
					t.Errorf("%s:%s asks for %s, which AWS does not have", name, op, n.action)
					continue
				}
				borrowed := strings.HasPrefix(n.action, "kms:") && name != "kms" // what a service does with a key in the caller's name
				if !o.readOnly && !borrowed && (ref.Level == "Read" || ref.Level == "List") {
					t.Errorf("%s:%s writes, %s is %s", name, op, n.action, ref.Level)
				}
				signs := n.action == "kms:Sign" // which CloudTrail records as a read (KMS developer guide, log entries: Sign)
				if o.readOnly && name != "sts" && !signs && strings.Contains(ref.Level, "Write") {
					t.Errorf("%s:%s reads, %s is %s", name, op, n.action, ref.Level)
				}
				if len(ref.Resources) > 0 != (n.resource != "*") && n.action != "iam:ListRoles" {
					t.Errorf("%s:%s asks for %s on %s, it takes %v", name, op, n.action, n.resource, ref.Resources)
				}
				for key := range n.context {
					if global.MatchString(key) {
						continue
					}
					if !slices.ContainsFunc(ref.Keys, func(have string) bool {
						return strings.HasPrefix(key, strings.ToLower(template.ReplaceAllString(have, "")))
					}) {
						t.Errorf("%s:%s gives %s the key %s, it knows %v", name, op, n.action, key, ref.Keys)
					}
				}
			}
		}
	}
}

// richCall has every parameter any operation's needs look at.
func richCall(c *Cloud, service, op string) *call {
	account := TargetAccounts()[0]
	fixtures := Fixtures(account, "us-east-1")
	r := httptest.NewRequest("PUT", "/b/k", bytes.NewReader(nil))
	r.Header.Set("X-Amz-Object-Lock-Mode", "COMPLIANCE")
	tag := map[string]any{"Key": "k", "Value": "v"}
	var specs []any
	for _, kind := range []string{"security-group-rule", "network-acl", "route-table", "internet-gateway", "vpc-flow-log", "key-pair"} {
		specs = append(specs, map[string]any{"ResourceType": kind, "Tag": []any{tag}})
	}
	params := map[string]any{
		"RoleName": "auditcanary-injector", "PolicyArn": denyAll, "PermissionsBoundary": denyAll, "Tags": []any{tag},
		"GroupId": fixtures["security_group"], "KeyId": fixtures["kms_key"], "Name": "auditcanary-decoy",
		"TagSpecification": specs, "VpcId": fixtures["vpc"], "ResourceId": []any{fixtures["vpc"]}, "SnapshotId": fixtures["snapshot"], "KeyName": "k",
		"CreateVolumePermission":   map[string]any{"Add": []any{map[string]any{"UserId": account, "Group": "all"}}, "Remove": []any{map[string]any{"UserId": account}}},
		"DeliverLogsPermissionArn": InjectorRole(account),
		"FlowLogId":                []any{"fl-00000000000000000"}, "Bucket": fixtures["bucket"], "Key": "k", "VersionId": "v",
		"RoleArn": InjectorRole(account), "RoleSessionName": "s2", "SourceIdentity": "s2", "ExternalId": "x",
	}
	if strings.HasPrefix(op, "Put") && strings.Contains(op, "Bucket") || op != "PutObject" {
		r.Header.Del("X-Amz-Object-Lock-Mode")
	}
	return &call{cloud: c, Request: Request{HTTP: r, Service: service, Operation: op, Region: "us-east-1", Params: params,
		Principal: Principal{Account: account, Type: "Root", ARN: "arn:aws:iam::" + account + ":root"}}}
}
