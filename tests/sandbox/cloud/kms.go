package cloud

import (
	"maps"
	"slices"
	"strings"

	"github.com/auditcanary/auditcanary/tests/sandbox/cloud/policy"
)

func kmsService() service {
	return service{
		source: "kms.amazonaws.com", wire: json11{},
		ops: map[string]operation{
			"DisableKey":       {needs: onKey("kms:DisableKey"), do: setKey(false)},
			"EnableKey":        {needs: onKey("kms:EnableKey"), do: setKey(true)},
			"DescribeKey":      {readOnly: true, needs: onKey("kms:DescribeKey"), do: describeKey},
			"ListKeys":         {readOnly: true, needs: anyOf("kms:ListKeys"), do: listKeys},
			"ListResourceTags": {readOnly: true, needs: onKey("kms:ListResourceTags"), do: listResourceTags},
		},
	}
}

// region is the caller's account in the call's region; empty if the region is not in use.
func (k *call) region() *Region {
	if r := k.account().Regions[k.Region]; r != nil {
		return r
	}
	return &Region{}
}

func (k *call) keyARN(id string) string {
	return "arn:aws:kms:" + k.Region + ":" + k.Principal.Account + ":key/" + id
}

// key finds the key KeyId names, by id or ARN; nil if it is not there.
func (k *call) key() (arn string, key *KMSKey) {
	id := k.str("KeyId")
	if !strings.HasPrefix(id, "arn:") {
		return k.keyARN(id), k.region().Keys[id]
	}
	if rest, ok := strings.CutPrefix(id, k.keyARN("")); ok {
		return id, k.region().Keys[rest]
	}
	return id, nil
}

func onKey(action string) func(*call) []need {
	return func(k *call) []need {
		arn, key := k.key()
		n := need{action: action, resource: arn, context: policy.Context{}}
		if key != nil {
			tagKeys(n.context, "aws:ResourceTag/", key.Tags)
		}
		return []need{n}
	}
}

func (k *call) knownKey() (string, *KMSKey, error) {
	arn, key := k.key()
	if key == nil {
		return "", nil, fail(400, "NotFoundException", "Key '%s' does not exist", arn)
	}
	return arn, key, nil
}

func setKey(enabled bool) func(*call) (reply, error) {
	return func(k *call) (reply, error) {
		arn, key, err := k.knownKey()
		if err != nil {
			return reply{}, err
		}
		key.Enabled = enabled
		return reply{elements: map[string]any{"keyId": arn}, resources: k.keyResource(arn)}, nil
	}
}

func (k *call) keyResource(arn string) []resource {
	return []resource{{ARN: arn, Type: "AWS::KMS::Key", Account: k.Principal.Account}}
}

func describeKey(k *call) (reply, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return reply{}, err
	}
	state := "Disabled"
	if key.Enabled {
		state = "Enabled"
	}
	return reply{resources: k.keyResource(arn), body: map[string]any{"KeyMetadata": map[string]any{
		"AWSAccountId": k.Principal.Account, "KeyId": key.ID, "Arn": arn, "CreationDate": key.Created.Unix(),
		"Enabled": key.Enabled, "KeyState": state, "Description": key.Description, "KeyUsage": "ENCRYPT_DECRYPT",
		"Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "KeySpec": "SYMMETRIC_DEFAULT",
		"CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": []string{"SYMMETRIC_DEFAULT"}, "MultiRegion": false,
	}}}, nil
}

func listKeys(k *call) (reply, error) {
	size, err := k.integer("Limit", 100)
	if err != nil || size < 1 || size > 1000 {
		return reply{}, fail(400, "ValidationException", "1 validation error detected: Value at 'limit' failed to satisfy constraint")
	}
	ids := slices.Sorted(maps.Keys(k.region().Keys))
	if m := k.str("Marker"); m != "" { // the marker is the last key of the page before
		ids = slices.DeleteFunc(ids, func(id string) bool { return id <= m })
	}
	list, more := []any{}, len(ids) > size
	for _, id := range ids[:min(size, len(ids))] {
		list = append(list, map[string]any{"KeyId": id, "KeyArn": k.keyARN(id)})
	}
	body := map[string]any{"Keys": list, "Truncated": more}
	if more {
		body["NextMarker"] = ids[size-1]
	}
	return reply{body: body}, nil
}

func listResourceTags(k *call) (reply, error) {
	arn, key, err := k.knownKey()
	if err != nil {
		return reply{}, err
	}
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(key.Tags)) {
		list = append(list, map[string]any{"TagKey": name, "TagValue": key.Tags[name]})
	}
	return reply{body: map[string]any{"Tags": list, "Truncated": false}, resources: k.keyResource(arn)}, nil
}
