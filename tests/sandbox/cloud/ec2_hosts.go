package cloud

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// hostOps: the record of ModifySnapshotAttribute is as in public detection-rule
// tests; the others' are by the pattern of their age, as CreateKeyPair's in AWS's own
// documentation, the public key in base64 as it was sent.
func hostOps() map[string]operation {
	return map[string]operation{
		"ImportKeyPair":           {needs: importKeyNeeds, do: dryRunnable(importKeyPair), params: olderParams},
		"DeleteKeyPair":           {needs: deleteKeyNeeds, do: dryRunnable(deleteKeyPair), params: olderParams},
		"DescribeKeyPairs":        {readOnly: true, needs: anyOf("ec2:DescribeKeyPairs"), do: dryRunnable(describeKeyPairs), params: olderParams},
		"ModifySnapshotAttribute": {needs: shareNeeds, do: dryRunnable(shareSnapshot), params: shareParams},
		"DeleteSnapshot":          {needs: snapshotNeeds, do: dryRunnable(deleteSnapshot), params: olderParams},
		"DescribeSnapshots":       {readOnly: true, needs: anyOf("ec2:DescribeSnapshots"), do: describeSnapshots, params: olderParams},
		"DescribeVpcs":            {readOnly: true, needs: anyOf("ec2:DescribeVpcs"), do: describeVPCs, params: olderParams},
	}
}

// keyPairs and snapshots are their kinds, as Changes shows them.
const (
	keyPairs  = "key pair"
	snapshots = "snapshot"
)

func snapshotID(account, region string) string {
	return "snap-0" + digest(account, region, "snapshot")[:16]
}

// snapshotARN has no account.
func (k *call) snapshotARN(id string) string { return "arn:aws:ec2:" + k.Region + "::snapshot/" + id }

func seedSnapshot(w *Seed, account, region string) {
	id := snapshotID(account, region)
	w.Accounts[account].Regions[region].Put(snapshots, &Thing{
		ID: id, ARN: "arn:aws:ec2:" + region + "::snapshot/" + id, Tags: map[string]string{"auditcanary": "fixture"},
		Attr: map[string]any{"volumeSize": 1},
	})
}

func importKeyNeeds(k *call) []need {
	return k.taggedNeeds("ec2:ImportKeyPair", "key-pair", k.str("KeyName"))
}

func deleteKeyNeeds(k *call) []need {
	name := k.str("KeyName")
	return []need{k.thingNeed("ec2:DeleteKeyPair", "key-pair", name, k.thing(keyPairs, name))}
}

func importKeyPair(k *call) (reply, error) {
	name := k.str("KeyName")
	if name == "" || len(name) > 255 {
		return reply{}, fail(400, "InvalidParameterValue", "Value (%s) for parameter keyName is invalid.", name)
	}
	print, err := fingerprint(k.str("PublicKeyMaterial"))
	if err != nil {
		return reply{}, err
	}
	if k.thing(keyPairs, name) != nil {
		return reply{}, fail(400, "InvalidKeyPair.Duplicate", "The keypair already exists")
	}
	id := "key-0" + randomText(16, "0123456789abcdef")
	t := &Thing{ID: name, ARN: k.ec2ARN("key-pair", name), Tags: k.specifiedTags("key-pair"), Attr: map[string]any{"keyPairId": id, "keyFingerprint": print}}
	k.region().Put(keyPairs, t)
	elements := map[string]any{"requestId": k.RequestID, "keyName": name, "keyPairId": id, "keyFingerprint": print}
	if len(t.Tags) > 0 {
		elements["tagSet"] = itemsOf(recordedTags(t.Tags))
	}
	return reply{body: keyPairElement(t), elements: elements}, nil
}

func keyPairElement(t *Thing) []el {
	return append([]el{leaf("keyName", t.ID), leaf("keyPairId", t.Attr["keyPairId"]), leaf("keyFingerprint", t.Attr["keyFingerprint"])}, tagSet(t.Tags)...)
}

// fingerprint of a public key in OpenSSH's form, itself in base64, as EC2 computes
// it: SHA-256 in base64 for Ed25519, MD5 in pairs of hex digits for RSA.
func fingerprint(material string) (string, error) {
	bad := fail(400, "InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	line, err := base64.StdEncoding.DecodeString(material)
	if err != nil {
		return "", bad
	}
	words := strings.Fields(string(line))
	if len(words) < 2 {
		return "", bad
	}
	blob, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil || !bytes.HasPrefix(blob, append([]byte{0, 0, 0, byte(len(words[0]))}, words[0]...)) {
		return "", bad
	}
	switch {
	case words[0] == "ssh-ed25519" && len(blob) == 4+len("ssh-ed25519")+4+32:
		sum := sha256.Sum256(blob)
		return base64.StdEncoding.EncodeToString(sum[:]), nil
	case words[0] == "ssh-rsa":
		var pairs []string
		for _, b := range md5.Sum(blob) {
			pairs = append(pairs, fmt.Sprintf("%02x", b))
		}
		return strings.Join(pairs, ":"), nil
	}
	return "", bad
}

// deleteKeyPair answers true also for a name that no key has.
func deleteKeyPair(k *call) (reply, error) {
	if k.str("KeyName") == "" {
		return reply{}, fail(400, "UnsupportedOperation", "the sandbox deletes key pairs by name only")
	}
	out := k.returnsTrue()
	if t := k.thing(keyPairs, k.str("KeyName")); t != nil {
		delete(k.region().Things[keyPairs], t.ID)
		out.body = append(out.body.([]el), leaf("keyPairId", t.Attr["keyPairId"]))
		out.elements["keyPairId"] = t.Attr["keyPairId"]
	}
	return out, nil
}

// describeKeyPairs has one page.
func describeKeyPairs(k *call) (reply, error) {
	all, filters := k.region().Things[keyPairs], k.filters()
	body := node("keySet")
	for _, name := range k.list("KeyName") {
		if all[fmt.Sprint(name)] == nil {
			return reply{}, fail(400, "InvalidKeyPair.NotFound", "The key pair '%v' does not exist", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		ok, err := passes(filters, map[string]string{"key-name": name}, all[name].Tags)
		if err != nil {
			return reply{}, err
		}
		if wanted := k.list("KeyName"); ok && (len(wanted) == 0 || slices.Contains(wanted, any(name))) {
			body.kids = append(body.kids, node("item", keyPairElement(all[name])...))
		}
	}
	return reply{body: []el{body}}, nil
}

func snapshotNeeds(k *call) []need {
	id := k.str("SnapshotId")
	n := k.thingNeed("ec2:"+k.Operation, "snapshot", id, k.thing(snapshots, id))
	n.resource = k.snapshotARN(id)
	return []need{n}
}

// shareNeeds says also with whom.
func shareNeeds(k *call) []need {
	out := snapshotNeeds(k)
	for _, change := range []string{"Add", "Remove"} {
		for _, with := range k.permissionChange(change) {
			for key, member := range map[string]string{"/userId": "UserId", "/group": "Group"} {
				if v := field(with, member); v != "" {
					name := strings.ToLower("ec2:" + change + key)
					out[0].context[name] = append(out[0].context[name], v)
				}
			}
		}
	}
	return out
}

// permissionChange lists to whom a snapshot's permission is given or taken.
func (k *call) permissionChange(change string) []any {
	m, _ := k.Params["CreateVolumePermission"].(map[string]any)
	list, _ := m[change].([]any)
	return list
}

func (k *call) knownSnapshot() (*Thing, error) {
	t := k.thing(snapshots, k.str("SnapshotId"))
	if t == nil {
		return nil, fail(400, "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", k.str("SnapshotId"))
	}
	return t, nil
}

// shareSnapshot knows accounts, not the group that is everybody.
func shareSnapshot(k *call) (reply, error) {
	t, err := k.knownSnapshot()
	if err != nil {
		return reply{}, err
	}
	if k.Params["CreateVolumePermission"] == nil {
		return reply{}, fail(400, "UnsupportedOperation", "the sandbox knows the parameter CreateVolumePermission only")
	}
	shared, _ := t.Attr["sharedWith"].([]any)
	shared = slices.Clone(shared)
	for _, with := range k.permissionChange("Add") {
		if id := field(with, "UserId"); id == "" {
			return reply{}, fail(400, "UnsupportedOperation", "the sandbox shares snapshots with accounts only")
		} else if !slices.Contains(shared, any(id)) {
			shared = append(shared, id)
		}
	}
	for _, with := range k.permissionChange("Remove") {
		shared = slices.DeleteFunc(shared, func(id any) bool { return id == field(with, "UserId") })
	}
	t.Attr = maps.Clone(t.Attr)
	if t.Attr["sharedWith"] = shared; len(shared) == 0 {
		delete(t.Attr, "sharedWith")
	}
	return k.returnsTrue(), nil
}

func shareParams(k *call) any {
	change := map[string]any{}
	for _, name := range []string{"Add", "Remove"} {
		if list := k.permissionChange(name); len(list) > 0 {
			change[lowerFirst(name)] = itemsOf(lowerNames(list).([]any))
		}
	}
	return map[string]any{"snapshotId": k.str("SnapshotId"), "attributeType": "CREATE_VOLUME_PERMISSION", "createVolumePermission": change}
}

func deleteSnapshot(k *call) (reply, error) {
	t, err := k.knownSnapshot()
	if err != nil {
		return reply{}, err
	}
	delete(k.region().Things[snapshots], t.ID)
	return k.returnsTrue(), nil
}
