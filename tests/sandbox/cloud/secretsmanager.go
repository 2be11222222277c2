package cloud

import (
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

// secrets is the kind under which a region keeps its secrets, by name.
const secrets = "secretsmanager secret"

func secretsmanagerService() service {
	return service{
		source: "secretsmanager.amazonaws.com", wire: json11{},
		ops: map[string]operation{
			"CreateSecret":   {needs: createSecretNeeds, do: createSecret, params: createSecretParams},
			"DeleteSecret":   {needs: onSecret("secretsmanager:DeleteSecret"), do: deleteSecret},
			"DescribeSecret": {readOnly: true, needs: onSecret("secretsmanager:DescribeSecret"), do: describeSecret},
			"ListSecrets":    {readOnly: true, needs: anyOf("secretsmanager:ListSecrets"), do: listSecrets},
		},
	}
}

func (k *call) secretARN(name string) string {
	return "arn:aws:secretsmanager:" + k.Region + ":" + k.Principal.Account + ":secret:" + name
}

// secret finds what SecretId names: a name, or an ARN with or without the six
// characters at its end. The ARN is of the secret, or what it would begin with.
func (k *call) secret() (arn string, s *Thing) {
	id := k.str("SecretId")
	name := strings.TrimPrefix(id, k.secretARN(""))
	for _, s := range k.region().Things[secrets] {
		if s.ID == name || s.ARN == id {
			return s.ARN, s
		}
	}
	if strings.HasPrefix(id, "arn:") {
		return id, nil
	}
	return k.secretARN(name), nil
}

func onSecret(action string) func(*call) []need {
	return func(k *call) []need {
		arn, s := k.secret()
		n := need{action: action, resource: arn, context: policy.Context{"secretsmanager:secretid": {arn}}}
		if s != nil {
			tagKeys(n.context, "aws:ResourceTag/", s.Tags)
		}
		return []need{n}
	}
}

// createSecretNeeds: a secret that is born with tags needs the right to tag.
func createSecretNeeds(k *call) []need {
	name := k.str("Name")
	create := need{action: "secretsmanager:CreateSecret", resource: k.secretARN(name), context: requestTags(policy.Context{"secretsmanager:name": {name}}, tags(k.list("Tags")))}
	if len(k.list("Tags")) == 0 {
		return []need{create}
	}
	return []need{create, {action: "secretsmanager:TagResource", resource: create.resource, context: requestTags(policy.Context{}, tags(k.list("Tags")))}}
}

func createSecret(k *call) (reply, error) {
	name := k.str("Name")
	switch r := k.region(); {
	case name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+=.@-") != "":
		return reply{}, fail(400, "ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	case r.Things[secrets][name] != nil:
		return reply{}, fail(400, "ResourceExistsException", "The operation failed because the secret %s already exists.", name)
	case k.Params["SecretString"] != nil && k.Params["SecretBinary"] != nil:
		return reply{}, fail(400, "InvalidParameterException", "You can't specify both a binary secret value and a string secret value in the same secret.")
	}
	s := &Thing{ID: name, ARN: k.secretARN(name) + "-" + randomText(6, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), Tags: tags(k.list("Tags")),
		Attr: map[string]any{"description": k.str("Description"), "created": k.Time.Unix()}}
	k.region().Put(secrets, s)
	body := map[string]any{"ARN": s.ARN, "Name": name}
	if k.Params["SecretString"] != nil || k.Params["SecretBinary"] != nil {
		body["VersionId"] = k.str("ClientRequestToken")
	}
	return reply{body: body, elements: map[string]any{"arn": s.ARN}}, nil
}

// createSecretParams: the value is never recorded, the default of the overwrite
// always (records of 2025 in public exercises). That tags are recorded as they were
// sent is inferred.
func createSecretParams(k *call) any {
	shown := maps.Clone(k.Params)
	delete(shown, "SecretString")
	delete(shown, "SecretBinary")
	if shown["ForceOverwriteReplicaSecret"] == nil {
		shown["ForceOverwriteReplicaSecret"] = false
	}
	return lowerNames(shown)
}

// deleteSecret: forced, it is gone at once and succeeds if it was before; else it
// waits. Record: Secrets Manager user guide, log entry of DeleteSecret.
func deleteSecret(k *call) (reply, error) {
	arn, s := k.secret()
	force := k.Params["ForceDeleteWithoutRecovery"] == true
	days, err := k.integer("RecoveryWindowInDays", 30)
	switch {
	case force && k.Params["RecoveryWindowInDays"] != nil:
		return reply{}, fail(400, "InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case err != nil || days < 7 || days > 30:
		return reply{}, fail(400, "InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	case s == nil && !force:
		return reply{}, noSuchSecret()
	}
	name, at := k.str("SecretId"), k.Time
	if s != nil {
		name = s.ID
	}
	switch {
	case force && s != nil:
		delete(k.region().Things[secrets], s.ID)
	case !force && s.Attr["deleted"] != nil:
		return reply{}, fail(400, "InvalidRequestException", "You can't perform this operation on the secret because it was already scheduled for deletion.")
	case !force:
		at = at.AddDate(0, 0, days)
		s.Attr["deleted"] = at.Unix()
	}
	return reply{
		body:     map[string]any{"ARN": arn, "Name": name, "DeletionDate": at.Unix()},
		elements: map[string]any{"arn": arn, "name": name, "deletionDate": at.Format("Jan 2, 2006 3:04:05 PM")},
	}, nil
}

func noSuchSecret() error {
	return fail(400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

func describeSecret(k *call) (reply, error) {
	_, s := k.secret()
	if s == nil {
		return reply{}, noSuchSecret()
	}
	return reply{body: secretEntry(s)}, nil
}

func secretEntry(s *Thing) map[string]any {
	out := map[string]any{"ARN": s.ARN, "Name": s.ID, "Description": s.Attr["description"], "CreatedDate": s.Attr["created"], "Tags": tagList(s.Tags)}
	if s.Attr["deleted"] != nil {
		out["DeletedDate"] = s.Attr["deleted"]
	}
	return out
}

// listSecrets carries the filter by the beginning of a name. Without being asked
// for them it leaves out the secrets that wait for their deletion.
func listSecrets(k *call) (reply, error) {
	var prefixes []string
	for _, f := range k.list("Filters") {
		m, _ := f.(map[string]any)
		if m["Key"] != "name" {
			return reply{}, fail(501, "NotImplemented", "the sandbox filters secrets by name only")
		}
		for _, v := range asList(m["Values"]) {
			prefixes = append(prefixes, strings.ToLower(v))
		}
	}
	var all []*Thing
	for _, name := range slices.Sorted(maps.Keys(k.region().Things[secrets])) {
		s := k.region().Things[secrets][name]
		fits := len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(strings.ToLower(name), p) })
		if fits && (s.Attr["deleted"] == nil || k.Params["IncludePlannedDeletion"] == true) {
			all = append(all, s)
		}
	}
	page, next, err := pageOf(k, all, 100, fail(400, "InvalidNextTokenException", "The next token is invalid."))
	if err != nil {
		return reply{}, err
	}
	list := []any{}
	for _, s := range page {
		list = append(list, secretEntry(s))
	}
	return reply{body: withNext(map[string]any{"SecretList": list}, next)}, nil
}

// pageOf cuts the page that MaxResults (1 to most, most if it is not given) and
// NextToken ask for out of all, which are sorted by id; the token is the last id of
// the page before.
func pageOf(k *call, all []*Thing, most int, badToken error) (page []*Thing, next string, err error) {
	size, err := k.integer("MaxResults", most)
	if err != nil || size < 1 || size > most {
		return nil, "", fail(400, "ValidationException", "1 validation error detected: Value at 'maxResults' failed to satisfy constraint: Member must have value between 1 and %d", most)
	}
	if token := k.str("NextToken"); token != "" {
		last, ok := strings.CutPrefix(token, "after:")
		if !ok {
			return nil, "", badToken
		}
		all = slices.DeleteFunc(all, func(t *Thing) bool { return t.ID <= last })
	}
	if len(all) <= size {
		return all, "", nil
	}
	return all[:size], "after:" + all[size-1].ID, nil
}

func withNext(body map[string]any, next string) map[string]any {
	if next != "" {
		body["NextToken"] = next
	}
	return body
}

// asList are the strings of a list.
func asList(v any) (out []string) {
	list, _ := v.([]any)
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
