package cloud

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// S3: the control plane authenticates, authorises, names and records every
// request, answers the calls about a bucket's policy, public access, lifecycle and
// location from its own state, and leaves the rest to the backend.

func s3Service() service {
	forward := func(action string, on func(*call) string) operation {
		return operation{readOnly: true, data: true, needs: onS3(action, on), do: forwarded, params: s3Params}
	}
	write := func(o operation) operation { o.readOnly = false; return o }
	manage := func(o operation, event string) operation {
		o.data, o.event, o.params = false, event, s3Params
		return o
	}
	named := func(o operation, event string) operation { o.event = event; return o }
	// setting is a part of a bucket's configuration that is one document, asked for
	// by its query parameter.
	setting := func(o operation, event string) operation { o.event, o.params = event, s3Params; return o }
	return service{
		source: "s3.amazonaws.com", wire: restXML{}, deniedKeepsParams: true,
		seed: func(w *Seed, account, region string) {
			names := s3Fixtures(account, region)
			for _, fixture := range []string{"public_access_bucket", "lifecycle_bucket"} {
				w.bucket(names[fixture], account, region, "")
			}
			seedLockedBucket(w, account, region)
			w.Accounts[account].Regions[region].Put(publicAccess, &Thing{ID: names["public_access_bucket"], Attr: blockAll()})
		},
		fixtures: func(account, region string) map[string]string {
			if region == "*" {
				return nil
			}
			return s3Fixtures(account, region)
		},
		ops: map[string]operation{
			"PutBucketPolicy":    {needs: onS3("s3:PutBucketPolicy", bucketARN), do: putBucketPolicy, params: s3Params},
			"DeleteBucketPolicy": {needs: onS3("s3:DeleteBucketPolicy", bucketARN), do: deleteBucketPolicy, params: s3Params},
			"GetBucketPolicy":    {readOnly: true, needs: onS3("s3:GetBucketPolicy", bucketARN), do: getBucketPolicy, params: s3Params},
			"GetBucketLocation":  {readOnly: true, needs: onS3("s3:GetBucketLocation", bucketARN), do: getBucketLocation, params: s3Params},

			"PutPublicAccessBlock":    setting(operation{needs: onS3("s3:PutBucketPublicAccessBlock", bucketARN), do: putSetting(publicAccess, checkPublicAccess)}, "PutBucketPublicAccessBlock"),
			"DeletePublicAccessBlock": setting(operation{needs: onS3("s3:PutBucketPublicAccessBlock", bucketARN), do: deleteSetting(publicAccess)}, "DeleteBucketPublicAccessBlock"),
			"GetPublicAccessBlock": setting(operation{readOnly: true, needs: onS3("s3:GetBucketPublicAccessBlock", bucketARN), do: getSetting(publicAccess,
				"NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found")}, "GetBucketPublicAccessBlock"),

			"PutBucketLifecycleConfiguration": setting(operation{needs: onS3("s3:PutLifecycleConfiguration", bucketARN), do: putSetting(lifecycle, checkLifecycle)}, "PutBucketLifecycle"),
			"DeleteBucketLifecycle":           setting(operation{needs: onS3("s3:PutLifecycleConfiguration", bucketARN), do: deleteSetting(lifecycle)}, ""),
			"GetBucketLifecycleConfiguration": setting(operation{readOnly: true, needs: onS3("s3:GetLifecycleConfiguration", bucketARN), do: getSetting(lifecycle,
				"NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist")}, "GetBucketLifecycle"),

			"PutBucketEncryption": setting(operation{needs: onS3("s3:PutEncryptionConfiguration", bucketARN), do: putSetting(encryption, checkNamed("ServerSideEncryptionConfiguration"))}, ""),
			"GetBucketEncryption": setting(operation{readOnly: true, needs: onS3("s3:GetEncryptionConfiguration", bucketARN), do: getEncryption}, ""),

			"PutBucketReplication": setting(operation{needs: onS3("s3:PutReplicationConfiguration", bucketARN), do: putSetting(replication, checkNamed("ReplicationConfiguration"))}, ""),
			"GetBucketReplication": setting(operation{readOnly: true, needs: onS3("s3:GetReplicationConfiguration", bucketARN), do: getSetting(replication,
				"ReplicationConfigurationNotFoundError", "The replication configuration was not found")}, ""),

			"GetBucketPolicyStatus": setting(operation{readOnly: true, needs: onS3("s3:GetBucketPolicyStatus", bucketARN), do: getPolicyStatus}, ""),

			"GetBucketVersioning":        manage(forward("s3:GetBucketVersioning", bucketARN), ""),
			"PutBucketVersioning":        manage(write(forward("s3:PutBucketVersioning", bucketARN)), ""),
			"GetObjectLockConfiguration": manage(forward("s3:GetBucketObjectLockConfiguration", bucketARN), "GetBucketObjectLockConfiguration"),
			"PutObjectLockConfiguration": manage(write(forward("s3:PutBucketObjectLockConfiguration", bucketARN)), "PutBucketObjectLockConfiguration"),
			"GetBucketAcl":               manage(forward("s3:GetBucketAcl", bucketARN), ""),
			"GetBucketTagging":           manage(forward("s3:GetBucketTagging", bucketARN), ""),

			"HeadBucket":         forward("s3:ListBucket", bucketARN),
			"ListObjects":        forward("s3:ListBucket", bucketARN),
			"ListObjectsV2":      forward("s3:ListBucket", bucketARN),
			"ListObjectVersions": forward("s3:ListBucketVersions", bucketARN),

			"GetObject":          forward("s3:GetObject", objectARN),
			"HeadObject":         forward("s3:GetObject", objectARN),
			"GetObjectRetention": named(forward("s3:GetObjectRetention", objectARN), "GetObjectLockRetention"),
			"GetObjectLegalHold": forward("s3:GetObjectLegalHold", objectARN),
			"PutObject":          write(forward("s3:PutObject", objectARN)),
			"DeleteObject":       write(forward("s3:DeleteObject", objectARN)),
			"DeleteObjects":      write(forward("s3:DeleteObject", func(k *call) string { return bucketARN(k) + "/*" })),
			"PutObjectRetention": named(write(forward("s3:PutObjectRetention", objectARN)), "PutObjectLockRetention"),
			"PutObjectLegalHold": write(forward("s3:PutObjectLegalHold", objectARN)),

			"CreateMultipartUpload":   write(forward("s3:PutObject", objectARN)),
			"UploadPart":              write(forward("s3:PutObject", objectARN)),
			"CompleteMultipartUpload": write(forward("s3:PutObject", objectARN)),
			"AbortMultipartUpload":    write(forward("s3:AbortMultipartUpload", objectARN)),
		},
	}
}

// restXML is S3's protocol.
type restXML struct{}

// s3Route tells operations apart: by method, whether a key is named, and the
// query parameter or header that selects a sub-resource.
type s3Route struct {
	method string
	object bool
	sub    string
	op     string
}

// The first route that fits is taken.
var s3Routes = []s3Route{
	{"GET", false, "policy", "GetBucketPolicy"}, {"PUT", false, "policy", "PutBucketPolicy"}, {"DELETE", false, "policy", "DeleteBucketPolicy"},
	{"GET", false, "publicAccessBlock", "GetPublicAccessBlock"}, {"PUT", false, "publicAccessBlock", "PutPublicAccessBlock"}, {"DELETE", false, "publicAccessBlock", "DeletePublicAccessBlock"},
	{"GET", false, "lifecycle", "GetBucketLifecycleConfiguration"}, {"PUT", false, "lifecycle", "PutBucketLifecycleConfiguration"}, {"DELETE", false, "lifecycle", "DeleteBucketLifecycle"},
	{"GET", false, "encryption", "GetBucketEncryption"}, {"PUT", false, "encryption", "PutBucketEncryption"},
	{"GET", false, "replication", "GetBucketReplication"}, {"PUT", false, "replication", "PutBucketReplication"},
	{"GET", false, "policyStatus", "GetBucketPolicyStatus"},
	{"GET", false, "location", "GetBucketLocation"},
	{"GET", false, "versioning", "GetBucketVersioning"}, {"PUT", false, "versioning", "PutBucketVersioning"},
	{"GET", false, "object-lock", "GetObjectLockConfiguration"}, {"PUT", false, "object-lock", "PutObjectLockConfiguration"},
	{"GET", false, "acl", "GetBucketAcl"}, {"GET", false, "tagging", "GetBucketTagging"},
	{"GET", false, "versions", "ListObjectVersions"}, {"GET", false, "list-type", "ListObjectsV2"},
	{"POST", false, "delete", "DeleteObjects"},
	{"GET", true, "retention", "GetObjectRetention"}, {"PUT", true, "retention", "PutObjectRetention"},
	{"GET", true, "legal-hold", "GetObjectLegalHold"}, {"PUT", true, "legal-hold", "PutObjectLegalHold"},
	{"POST", true, "uploads", "CreateMultipartUpload"}, {"PUT", true, "uploadId", "UploadPart"},
	{"POST", true, "uploadId", "CompleteMultipartUpload"}, {"DELETE", true, "uploadId", "AbortMultipartUpload"},
	{"HEAD", false, "", "HeadBucket"}, {"GET", false, "", "ListObjects"},
	{"HEAD", true, "", "HeadObject"}, {"GET", true, "", "GetObject"}, {"PUT", true, "", "PutObject"}, {"DELETE", true, "", "DeleteObject"},
}

// Query parameters that select a sub-resource the sandbox does not have: taking
// such a request for the plain one would do something else than was asked.
var s3Unknown = []string{
	"acl", "accelerate", "analytics", "attributes", "cors", "encryption", "intelligent-tiering", "inventory", "legal-hold",
	"lifecycle", "location", "logging", "metrics", "notification", "object-lock", "ownershipControls", "policy", "policyStatus",
	"publicAccessBlock", "replication", "requestPayment", "restore", "retention", "select", "tagging", "torrent", "uploadId",
	"uploads", "versioning", "versions", "website", "delete",
}

func (restXML) decode(k *call) (string, map[string]any, error) {
	r := k.HTTP
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if bucket == "" {
		return "", nil, fail(501, "NotImplemented", "the sandbox has no S3 operation without a bucket (path style is needed)")
	}
	params := map[string]any{"Bucket": bucket}
	if key != "" {
		params["Key"] = key
	}
	q := r.URL.Query()
	if v := q.Get("versionId"); v != "" {
		params["VersionId"] = v
	}
	if v := q.Get("prefix"); v != "" {
		params["Prefix"] = v
	}
	for _, route := range s3Routes {
		if route.method != r.Method || route.object != (key != "") || route.sub != "" && !q.Has(route.sub) {
			continue
		}
		if route.sub == "" {
			for _, name := range s3Unknown {
				if q.Has(name) {
					return "", nil, fail(501, "NotImplemented", "the sandbox has no S3 operation %s ?%s", r.Method, name)
				}
			}
			if r.Header.Get("X-Amz-Copy-Source") != "" {
				return "", nil, fail(501, "NotImplemented", "the sandbox has no S3 operation CopyObject")
			}
		}
		switch route.op {
		case "PutBucketPolicy", "PutPublicAccessBlock", "PutBucketLifecycleConfiguration", "PutBucketEncryption", "PutBucketReplication":
			if k.body == nil {
				return "", nil, fail(400, "InvalidRequest", "the payload of %s must be signed", route.op)
			}
		}
		if route.op == "PutBucketPolicy" {
			params["Policy"] = string(k.body)
		}
		return route.op, params, nil
	}
	return "", nil, fail(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
}

func (restXML) head(w http.ResponseWriter, k *call) {
	w.Header().Set("x-amz-request-id", k.RequestID)
	w.Header().Set("x-amz-id-2", k.hostID())
	w.Header().Set("Server", "AmazonS3")
}

func (x restXML) reply(w http.ResponseWriter, k *call, r reply) {
	x.head(w, k)
	status := r.status
	if status == 0 {
		status = 200
	}
	body, _ := r.body.([]byte)
	if len(body) > 0 && w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/xml")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (x restXML) fail(w http.ResponseWriter, k *call, e *apiError) {
	x.head(w, k)
	for name, v := range e.header {
		w.Header().Set(name, v)
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	if k.HTTP.Method != http.MethodHead {
		_, _ = w.Write(k.s3Error(e))
	}
}

func (k *call) s3Error(e *apiError) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	node("Error", leaf("Code", e.code), leaf("Message", e.message), leaf("RequestId", k.RequestID), leaf("HostId", k.hostID())).write(&b)
	return b.Bytes()
}

// hostID is S3's second request id (x-amz-id-2): the same for one request
// wherever it is asked for.
func (k *call) hostID() string {
	sum := digest("x-amz-id-2", k.RequestID)
	return base64.StdEncoding.EncodeToString([]byte(sum)[:56])
}

func bucketARN(k *call) string { return "arn:aws:s3:::" + k.str("Bucket") }
func objectARN(k *call) string { return bucketARN(k) + "/" + k.str("Key") }

// onS3 is the need of an action, with those that headers add.
func onS3(action string, on func(*call) string) func(*call) []need {
	return func(k *call) []need {
		n := need{action: action, resource: on(k), shown: `"` + on(k) + `"`, context: policy.Context{}}
		if p := k.str("Prefix"); p != "" {
			n.context["s3:prefix"] = []string{p}
		}
		if b := k.cloud.world.Buckets[k.str("Bucket")]; b != nil {
			n.owner = b.Account
			if b.Policy != "" {
				n.grants = []policy.Named{{Doc: b.policy}}
			}
		}
		if k.str("VersionId") != "" {
			switch action {
			case "s3:GetObject", "s3:DeleteObject":
				n.action += "Version"
			}
		}
		out, h := []need{n}, k.HTTP.Header
		for header, key := range s3HeaderKeys {
			if v := h.Get(header); v != "" {
				n.context[key] = []string{v}
			}
		}
		also := func(action string) { m := n; m.action = action; out = append(out, m) }
		if h.Get("X-Amz-Object-Lock-Mode") != "" {
			also("s3:PutObjectRetention")
		}
		if h.Get("X-Amz-Object-Lock-Legal-Hold") != "" {
			also("s3:PutObjectLegalHold")
		}
		if strings.EqualFold(h.Get("X-Amz-Bypass-Governance-Retention"), "true") {
			also("s3:BypassGovernanceRetention")
		}
		return append(out, k.keyNeeds(action)...)
	}
}

// bucket is the bucket of the call, in the region it was sent to.
func (k *call) bucket() (*Bucket, error) {
	b := k.cloud.world.Buckets[k.str("Bucket")]
	if b == nil {
		return nil, fail(404, "NoSuchBucket", "The specified bucket does not exist")
	}
	if b.Region != k.Region && k.Operation != "GetBucketLocation" {
		return nil, &apiError{
			code: "PermanentRedirect", status: 301, header: map[string]string{"x-amz-bucket-region": b.Region},
			message: "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
		}
	}
	return b, nil
}

func (k *call) s3Reply(b *Bucket, status int, body []byte) reply {
	return reply{
		status: status, body: body, additional: k.s3Additional(int64(len(k.body)), int64(len(body))),
		resources: []resource{{ARN: "arn:aws:s3:::" + b.Name, Type: "AWS::S3::Bucket", Account: b.Account}},
	}
}

func (k *call) s3Additional(in, out int64) map[string]any {
	return map[string]any{
		"SignatureVersion": "SigV4", "CipherSuite": cipherSuite, "AuthenticationMethod": "AuthHeader",
		"bytesTransferredIn": in, "bytesTransferredOut": out, "x-amz-id-2": k.hostID(),
	}
}

func putBucketPolicy(k *call) (reply, error) {
	b, err := k.bucket()
	if err != nil {
		return reply{}, err
	}
	doc, err := policy.Parse(k.body, policy.ForResource)
	if err != nil {
		return reply{}, fail(400, "MalformedPolicy", "%v", err)
	}
	for _, s := range doc.Statements {
		for _, r := range append(s.Resources[:len(s.Resources):len(s.Resources)], s.NotResources...) {
			if r != "arn:aws:s3:::"+b.Name && !strings.HasPrefix(r, "arn:aws:s3:::"+b.Name+"/") {
				return reply{}, fail(400, "MalformedPolicy", "Policy has invalid resource")
			}
		}
	}
	b.Policy, b.policy = string(k.body), doc
	return k.s3Reply(b, 204, nil), nil
}

func deleteBucketPolicy(k *call) (reply, error) {
	b, err := k.bucket()
	if err != nil {
		return reply{}, err
	}
	b.Policy, b.policy = "", policy.Document{} // deleting none is a success, as at AWS
	return k.s3Reply(b, 204, nil), nil
}

func getBucketPolicy(k *call) (reply, error) {
	b, err := k.bucket()
	if err != nil {
		return reply{}, err
	}
	if b.Policy == "" {
		return reply{}, fail(404, "NoSuchBucketPolicy", "The bucket policy does not exist")
	}
	return k.s3Reply(b, 200, []byte(b.Policy)), nil
}

func getBucketLocation(k *call) (reply, error) {
	b, err := k.bucket()
	if err != nil {
		return reply{}, err
	}
	region := b.Region
	if region == "us-east-1" {
		region = "" // the classic region has no constraint
	}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	leaf(`LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`, region).write(&out)
	return k.s3Reply(b, 200, out.Bytes()), nil
}

// s3Params: bucketName, Host, and the selecting query parameter with its value.
func s3Params(k *call) any {
	out := map[string]any{"bucketName": k.str("Bucket"), "Host": k.HTTP.Host}
	if key := k.str("Key"); key != "" {
		out["key"] = key
	}
	for name, v := range k.HTTP.URL.Query() {
		if name != "x-id" { // the SDK's own, not a parameter of the API
			out[name] = strings.Join(v, ",")
		}
	}
	switch k.Operation {
	case "PutBucketPolicy":
		var doc any
		if json.Unmarshal(k.body, &doc) == nil {
			out["bucketPolicy"] = doc
		}
	case "PutPublicAccessBlock", "PutBucketLifecycleConfiguration", "PutBucketEncryption", "PutBucketReplication", "PutObjectLockConfiguration", "PutObjectRetention":
		if name, doc, err := xmlDocument(k.body); err == nil {
			out[name] = doc
		}
	}
	return out
}

func forwarded(k *call) (reply, error) {
	b, err := k.bucket()
	if err != nil {
		return reply{}, err
	}
	if k.cloud.opts.S3 == nil {
		return reply{}, fail(501, "NotImplemented", "the sandbox runs without an S3 backend")
	}
	r := k.s3Reply(b, 0, nil)
	r.forward = true
	return r, nil
}

// forward lets the backend answer an authorised request, and learns from the
// answer what to record. It runs without the world's lock.
func (c *Cloud) forward(w http.ResponseWriter, k *call, rep reply) (reply, error) {
	restXML{}.head(w, k)
	r := k.HTTP.Clone(k.HTTP.Context())
	if k.body != nil {
		r.Body = io.NopCloser(bytes.NewReader(k.body))
	}
	c.carelessly(k, r)
	watched := &watch{ResponseWriter: c.asSeenBy(k, w), k: k}
	c.opts.S3.ServeHTTP(watched, r)
	if !watched.wrote {
		watched.WriteHeader(200)
	}
	rep.additional = k.s3Additional(int64(len(k.body)), watched.sent)
	if watched.status < 400 {
		return rep, nil
	}
	code, message := http.StatusText(watched.status), ""
	if m := errorCode.FindSubmatch(watched.start); m != nil {
		code = string(m[1])
	}
	if m := errorMessage.FindSubmatch(watched.start); m != nil {
		message = string(m[1])
	}
	return rep, &apiError{code: code, message: message, status: watched.status, denied: watched.status == 403}
}

var (
	errorCode    = regexp.MustCompile(`<Code>([^<]*)</Code>`)
	errorMessage = regexp.MustCompile(`<Message>([^<]*)</Message>`)
)

// watch passes the backend's answer on under the request ids that the control
// plane gave. The Date is the backend's own: it knows when it looked.
type watch struct {
	http.ResponseWriter
	k      *call
	wrote  bool
	status int
	sent   int64
	start  []byte // the beginning of an error's body
}

func (w *watch) WriteHeader(status int) {
	if w.wrote || status < 200 {
		return
	}
	w.wrote, w.status = true, status
	h := w.Header()
	if at, err := http.ParseTime(h.Get("Date")); err == nil && w.k.skew != 0 {
		h.Set("Date", at.Add(w.k.skew).Format(http.TimeFormat))
	}
	for name := range h { // the backend may write the names in any case
		switch strings.ToLower(name) {
		case "x-amz-request-id", "x-amz-id-2", "server":
			delete(h, name)
		}
	}
	restXML{}.head(w.ResponseWriter, w.k)
	w.ResponseWriter.WriteHeader(status)
}

func (w *watch) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(200)
	}
	if w.status >= 400 && len(w.start) < 4096 {
		w.start = append(w.start, p[:min(len(p), 4096-len(w.start))]...)
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watch) Unwrap() http.ResponseWriter { return w.ResponseWriter }
