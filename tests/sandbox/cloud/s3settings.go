package cloud

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// Kinds under which a region keeps its buckets' settings, by the bucket's name: the
// document as xmlDocument reads it, under its element's name.
const (
	publicAccess = "s3 public access block"
	lifecycle    = "s3 lifecycle"
	encryption   = "s3 encryption"
	replication  = "s3 replication"
)

const s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// blockAll is how infrastructure code leaves a bucket, and S3 itself since 2023.
func blockAll() map[string]any {
	return map[string]any{"PublicAccessBlockConfiguration": map[string]any{
		"xmlns": s3Namespace, "BlockPublicAcls": true, "BlockPublicPolicy": true, "IgnorePublicAcls": true, "RestrictPublicBuckets": true,
	}}
}

func s3Fixtures(account, region string) map[string]string {
	return map[string]string{
		"public_access_bucket": "auditcanary-" + account + "-" + region + "-access",
		"lifecycle_bucket":     "auditcanary-" + account + "-" + region + "-lifecycle",
		"locked_bucket":        LockedBucket(account, region),
		"locked_object":        LockedObject,
	}
}

// settings are the region's settings of a bucket, which is there.
func (k *call) settings() (*Bucket, *Region, error) {
	b, err := k.bucket()
	if err != nil {
		return nil, nil, err
	}
	return b, k.cloud.world.Accounts[b.Account].Regions[b.Region], nil
}

func putSetting(kind string, check func(name string, doc any) error) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		b, r, err := k.settings()
		if err != nil {
			return reply{}, err
		}
		name, doc, err := xmlDocument(k.body)
		if err == nil {
			err = check(name, doc)
		}
		if err != nil {
			return reply{}, fail(400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema: %v", err)
		}
		r.Put(kind, &Thing{ID: b.Name, Attr: map[string]any{name: doc}})
		return k.s3Reply(b, 200, nil), nil
	}
}

// deleteSetting succeeds if there is none, as at AWS.
func deleteSetting(kind string) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		b, r, err := k.settings()
		if err != nil {
			return reply{}, err
		}
		delete(r.Things[kind], b.Name)
		return k.s3Reply(b, 204, nil), nil
	}
}

func getSetting(kind, none, message string) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		b, r, err := k.settings()
		if err != nil {
			return reply{}, err
		}
		t := r.Things[kind][b.Name]
		if t == nil {
			return reply{}, fail(404, none, "%s", message)
		}
		var out bytes.Buffer
		out.WriteString(xml.Header)
		for _, root := range settingElements(t.Attr) {
			root.write(&out)
		}
		return k.s3Reply(b, 200, out.Bytes()), nil
	}
}

func checkPublicAccess(name string, doc any) error {
	config, _ := doc.(map[string]any)
	if name != "PublicAccessBlockConfiguration" || config == nil {
		return errors.New("it is no PublicAccessBlockConfiguration")
	}
	for part, v := range config {
		known := slices.Contains([]string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}, part)
		if _, isBool := v.(bool); part != "xmlns" && (!known || !isBool) {
			return errors.New(part + " is not known or neither true nor false")
		}
	}
	return nil
}

func checkLifecycle(name string, doc any) error {
	config, _ := doc.(map[string]any)
	if name != "LifecycleConfiguration" || config == nil || config["Rule"] == nil {
		return errors.New("it is no LifecycleConfiguration with a rule")
	}
	rules, several := config["Rule"].([]any)
	if !several {
		rules = []any{config["Rule"]}
	}
	for _, rule := range rules {
		if s := field(rule, "Status"); s != "Enabled" && s != "Disabled" {
			return errors.New("a rule's Status is neither Enabled nor Disabled")
		}
	}
	return nil
}

// xmlDocument reads a configuration document as CloudTrail writes it into a
// record: elements by name, several of a name as a list, numbers and truth values
// typed, the namespace as "xmlns". (PutBucketLifecycle and
// PutBucketPublicAccessBlock in public rule tests.)
func xmlDocument(body []byte) (name string, doc any, err error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return "", nil, errors.New("it has no element")
		}
		if err != nil {
			return "", nil, err
		}
		if start, ok := token.(xml.StartElement); ok {
			doc, err := xmlElement(d, start, 0)
			return start.Name.Local, doc, err
		}
	}
}

// maxXMLDepth is deeper than any configuration document is.
const maxXMLDepth = 16

func xmlElement(d *xml.Decoder, start xml.StartElement, depth int) (any, error) {
	if depth > maxXMLDepth {
		return nil, errors.New("it is nested too deeply")
	}
	members := map[string]any{}
	for _, a := range start.Attr {
		members[a.Name.Local] = a.Value
	}
	var text strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			v, err := xmlElement(d, token, depth+1)
			if err != nil {
				return nil, err
			}
			name := token.Name.Local
			switch before := members[name].(type) {
			case nil:
				members[name] = v
			case []any:
				members[name] = append(before, v)
			default:
				members[name] = []any{before, v}
			}
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if len(members) > 0 {
				return members, nil
			}
			return scalarOf(text.String()), nil
		}
	}
}

func scalarOf(s string) any {
	switch s {
	case "true", "false":
		return s == "true"
	}
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return s
}

// settingElements writes such members as elements again, in the order of their names.
func settingElements(members map[string]any) []el {
	var out []el
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name == "xmlns" {
			continue
		}
		values, several := members[name].([]any)
		if !several {
			values = []any{members[name]}
		}
		for _, v := range values {
			m, isElement := v.(map[string]any)
			switch {
			case !isElement:
				out = append(out, leaf(name, v))
			case m["xmlns"] != nil:
				e := node(fmt.Sprintf("%s xmlns=%q", name, m["xmlns"]), settingElements(m)...)
				out = append(out, e)
			default:
				out = append(out, node(name, settingElements(m)...))
			}
		}
	}
	return out
}

// checkNamed takes a document of that name, whatever it says.
func checkNamed(want string) func(string, any) error {
	return func(name string, doc any) error {
		if _, isMap := doc.(map[string]any); name != want || !isMap {
			return errors.New("it is no " + want)
		}
		return nil
	}
}

// getEncryption: what nobody set is encrypted with S3's own keys.
func getEncryption(k *call) (reply, error) {
	b, r, err := k.settings()
	if err != nil {
		return reply{}, err
	}
	if r.Things[encryption][b.Name] != nil {
		return getSetting(encryption, "", "")(k)
	}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	node(fmt.Sprintf("ServerSideEncryptionConfiguration xmlns=%q", s3Namespace), node("Rule",
		node("ApplyServerSideEncryptionByDefault", leaf("SSEAlgorithm", "AES256")), leaf("BucketKeyEnabled", false))).write(&out)
	return k.s3Reply(b, 200, out.Bytes()), nil
}

// getPolicyStatus: public is a policy that allows everybody anything, under no
// condition. (AWS counts some conditions as none; here any is one.)
func getPolicyStatus(k *call) (reply, error) {
	b, err := k.bucket()
	if err != nil {
		return reply{}, err
	}
	if b.Policy == "" {
		return reply{}, fail(404, "NoSuchBucketPolicy", "The bucket policy does not exist")
	}
	public := slices.ContainsFunc(b.policy.Statements, func(s policy.Statement) bool {
		return s.Allow && slices.Contains(s.Principals, "*") && !s.Conditional()
	})
	var out bytes.Buffer
	out.WriteString(xml.Header)
	node(fmt.Sprintf("PolicyStatus xmlns=%q", s3Namespace), leaf("IsPublic", strings.ToUpper(fmt.Sprint(public)))).write(&out)
	return k.s3Reply(b, 200, out.Bytes()), nil
}
