package cloud

import (
	"fmt"
	"net/http"
)

// What is asked by whoever looks whether an installation is sound, and what can be wrong
// with it that no API can do.

// inspectFixtures lets the inspector see that fixtures are there.
const inspectFixtures = `{"Sid":"Fixtures","Effect":"Allow","Action":["ec2:DescribeSecurityGroups","ec2:DescribeVpcs","ec2:DescribeSnapshots","kms:ListResourceTags",
  "eks:DescribeCluster","securityhub:DescribeHub","backup:DescribeBackupVault","backup:DescribeRecoveryPoint"],"Resource":"*"},
 {"Sid":"FixtureObjects","Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::auditcanary-*"},`

// describeThings answers a Describe call of EC2 for things of a kind, all or by id.
func describeThings(k *call, kind, ids, set, idName, notFound string) (reply, error) {
	there := k.region().Things[kind]
	wanted := k.list(ids)
	if len(wanted) == 0 {
		for id := range there {
			wanted = append(wanted, id)
		}
	}
	var items []el
	for _, id := range wanted {
		t := there[fmt.Sprint(id)]
		if t == nil {
			return reply{}, fail(400, notFound, "The ID '%v' does not exist", id)
		}
		items = append(items, node("item", append([]el{leaf(idName, t.ID), leaf("ownerId", k.Principal.Account)}, tagSet(t.Tags)...)...))
	}
	return reply{body: []el{node(set, items...)}}, nil
}

func describeVPCs(k *call) (reply, error) {
	return describeThings(k, "vpc", "VpcId", "vpcSet", "vpcId", "InvalidVpcID.NotFound")
}

func describeSnapshots(k *call) (reply, error) {
	return describeThings(k, snapshots, "SnapshotId", "snapshotSet", "snapshotId", "InvalidSnapshot.NotFound")
}

func describeCluster(k *call) (reply, error) {
	c := k.region().Things[clusters][k.str("name")]
	if c == nil {
		return reply{}, fail(404, "ResourceNotFoundException", "No cluster found for name: %s.", k.str("name"))
	}
	return reply{body: map[string]any{"cluster": map[string]any{
		"name": c.ID, "arn": c.ARN, "status": "ACTIVE", "tags": c.Tags, "accessConfig": map[string]any{"authenticationMode": "API"},
	}}}, nil
}

func describeHub(k *call) (reply, error) {
	if _, err := k.insights(); err != nil {
		return reply{}, err
	}
	return reply{body: map[string]any{"HubArn": hubARN(k.Principal.Account, k.Region), "AutoEnableControls": true}}, nil
}

// Untagged names a security group or key.
type Untagged struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	ID      string `json:"id"`
}

// untag takes its tags away. The lock is held.
func (c *Cloud) untag(u Untagged) error {
	if a := c.world.Accounts[u.Account]; a != nil && a.Regions[u.Region] != nil {
		r := a.Regions[u.Region]
		if g := r.Groups[u.ID]; g != nil {
			g.Tags = nil
			return nil
		}
		if k := r.Keys[u.ID]; k != nil {
			k.Tags = nil
			return nil
		}
	}
	return fmt.Errorf("no security group or key %s in %s/%s", u.ID, u.Account, u.Region)
}

// beCareless: a store that merely resembles S3. The lock is held.
func (c *Cloud) beCareless(bucket string) error {
	if c.world.Buckets[bucket] == nil {
		return fmt.Errorf("there is no bucket %q", bucket)
	}
	if c.careless == nil {
		c.careless = map[string]bool{}
	}
	c.careless[bucket] = true
	return nil
}

// carelessly takes the conditions from a request for a careless bucket.
func (c *Cloud) carelessly(k *call, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.careless[k.str("Bucket")] {
		r.Header.Del("If-Match")
		r.Header.Del("If-None-Match")
	}
}
