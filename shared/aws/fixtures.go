package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/backup"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/guardduty"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/access"
	"github.com/auditcanary/auditcanary/shared/canary"
)

// Roles are those of an account, with what they may do.
type Roles struct {
	principals []*access.Principal
	details    []iamtypes.RoleDetail
}

// Roles reads an account's roles and their policies.
func (i *Inspector) Roles(ctx context.Context, account string) (*Roles, error) {
	d, err := (&authReader{i: i, ctx: ctx}).details(account)
	if err != nil {
		return nil, err
	}
	return &Roles{d.principals(account), d.roles}, nil
}

// Named is the role of an ARN; nil if there is none.
func (r *Roles) Named(arn string) *access.Principal {
	for _, p := range r.principals {
		if p.Kind == access.Role && p.ARN == arn {
			return p
		}
	}
	return nil
}

// Fixture is one that the configuration names, as it was found.
type Fixture struct {
	Region, Name, ID string
	// Fault is what is wrong with it, and Fix what to do; both "" if nothing is.
	Fault, Fix string
	// Err says why it could not be looked at, Reads by which call.
	Err   error
	Reads string
	// Own: no kind of thing that is known here.
	Own bool
}

// Enter lets itself into an account, as everything it reads there needs.
func (i *Inspector) Enter(ctx context.Context, account string) error {
	_, err := i.open(ctx, account, homeRegion(i.o.Partition))
	return err
}

// Fixtures looks at each fixture of a target, region by region: whether it is there, and
// carries the name or tag without which no canary may touch it. What all regions have is looked
// at in the first. roles are those of the account.
func (i *Inspector) Fixtures(ctx context.Context, t Target, roles *Roles) []Fixture {
	var out []Fixture
	kinds := fixtureKinds()
	for _, region := range append([]string{"*"}, t.Regions...) {
		at := region
		if at == "*" {
			at = t.Regions[0]
		}
		cfg, err := i.open(ctx, t.Account, at)
		r := &fixtureReader{i: i, cfg: cfg, target: t, region: at, roles: roles, s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })}
		for _, name := range slices.Sorted(maps.Keys(t.Fixtures[region])) {
			f := Fixture{Region: region, Name: name, ID: t.Fixtures[region][name], Err: err}
			look, known := kinds[name]
			switch {
			case err != nil:
			case !known:
				f.Own = true
			default:
				r.look(ctx, look, &f)
			}
			out = append(out, f)
		}
	}
	return out
}

// fixtureReader looks at things in a place.
type fixtureReader struct {
	i      *Inspector
	cfg    aws.Config
	s3     *s3.Client
	target Target
	region string
	roles  *Roles
}

// fault is what is wrong with a fixture.
type fault struct{ what, fix string }

func (f fault) Error() string { return f.what }

// kindOfFixture is the call that looks at one kind of thing, and how. Its error is a fault,
// or a call's.
type kindOfFixture struct {
	reads string
	look  func(r *fixtureReader, ctx context.Context, id string) error
}

// fixtureKinds are those of Target.Fixtures in the configuration's manual. (A function, not
// a variable: or every program would link the clients that they ask with.)
func fixtureKinds() map[string]kindOfFixture {
	return map[string]kindOfFixture{
		"security_group": {"ec2:DescribeSecurityGroups", (*fixtureReader).group},
		"vpc":            {"ec2:DescribeVpcs", (*fixtureReader).vpc},
		"snapshot":       {"ec2:DescribeSnapshots", (*fixtureReader).snapshot},

		fixtureKey:         {"kms:DescribeKey", (*fixtureReader).enabledKey},
		fixtureDeletionKey: {"kms:DescribeKey", (*fixtureReader).enabledKey},
		fixtureGrantKey:    {"kms:DescribeKey", (*fixtureReader).enabledKey},
		fixturePendingKey:  {"kms:DescribeKey", (*fixtureReader).pendingKey},

		fixtureBucket:          {"s3:GetBucketVersioning", (*fixtureReader).bucket},
		fixtureLifecycleBucket: {"s3:GetBucketVersioning", (*fixtureReader).bucket},
		fixtureAccessBucket:    {"s3:GetBucketVersioning", (*fixtureReader).bucket},
		fixtureLockedBucket:    {"s3:GetBucketObjectLockConfiguration", (*fixtureReader).lockedBucket},
		fixtureLockedObject:    {"s3:ListBucket", (*fixtureReader).object},

		"decoy_trail":            {"cloudtrail:GetTrail", (*fixtureReader).trail},
		"selector_trail":         {"cloudtrail:GetTrail", (*fixtureReader).trail},
		fixtureLockedTrail:       {"cloudtrail:GetTrail", (*fixtureReader).trail},
		fixtureMultiRegionTrail:  {"cloudtrail:DescribeTrails", (*fixtureReader).seenTrail},
		fixtureOrganizationTrail: {"cloudtrail:DescribeTrails", (*fixtureReader).seenTrail},

		fixtureLogGroup:          {"logs:DescribeLogGroups", (*fixtureReader).logGroup},
		fixtureProtectedLogGroup: {"logs:DescribeLogGroups", (*fixtureReader).protectedLogGroup},
		fixtureLockedRule:        {"events:DescribeRule", (*fixtureReader).rule},

		fixtureDetector: {"guardduty:GetDetector", (*fixtureReader).detector},
		fixtureHub:      {"securityhub:DescribeHub", (*fixtureReader).hub},
		fixtureCluster:  {"eks:DescribeCluster", (*fixtureReader).cluster},

		"break_glass_role": {"iam:GetAccountAuthorizationDetails", func(r *fixtureReader, _ context.Context, id string) error { return r.role(id, false) }},
		fixtureLockedRole:  {"iam:GetAccountAuthorizationDetails", func(r *fixtureReader, _ context.Context, id string) error { return r.role(id, true) }},
		fixturePrincipal:   {"iam:GetAccountAuthorizationDetails", func(r *fixtureReader, _ context.Context, id string) error { return r.role(id, true) }},
		"flow_log_role":    {"iam:GetAccountAuthorizationDetails", func(r *fixtureReader, _ context.Context, id string) error { return r.role(id, true) }},

		fixtureLockedVault:         {"backup:DescribeBackupVault", (*fixtureReader).vault},
		fixtureLockedRecoveryPoint: {"backup:DescribeRecoveryPoint", (*fixtureReader).recoveryPoint},
	}
}

// gone are the codes with which services say that there is no such thing.
var gone = []string{
	"NoSuchBucket", "NotFoundException", "ResourceNotFoundException", "TrailNotFoundException", "InvalidGroup.NotFound", "InvalidGroupId.Malformed", "InvalidVpcID.NotFound",
	"InvalidSnapshot.NotFound", "InvalidAccessException", "BadRequestException", "InvalidSnapshotID.Malformed", "InvalidVpcId.Malformed", "InvalidTrailNameException", "InvalidArnException",
}

// unread is a call that failed, where a kind takes more than one.
type unread struct {
	call string
	error
}

func (u unread) Unwrap() error { return u.error }

// look fills in what is wrong with a fixture, or why that is not known.
func (r *fixtureReader) look(ctx context.Context, k kindOfFixture, f *Fixture) {
	ctx, cancel := r.i.bound(ctx)
	defer cancel()
	err := k.look(r, ctx, f.ID)
	var bad fault
	var api smithy.APIError
	switch {
	case err == nil:
	case errors.As(err, &bad):
		f.Fault, f.Fix = bad.what, bad.fix
	case errors.As(err, &api) && slices.Contains(gone, api.ErrorCode()):
		f.Fault, f.Fix = "it is not there ("+api.ErrorCode()+")", deployIt
	case errors.As(err, &api) && api.ErrorCode() == "PermanentRedirect":
		f.Fault, f.Fix = "it is in another region than "+r.region, "correct fixtures in the configuration: it stands under the wrong region"
	default:
		f.Reads = k.reads
		var u unread
		if errors.As(err, &u) {
			f.Reads = u.call
		}
		f.Err = r.i.explain(err, f.Reads+" of "+f.ID, r.target.Account, r.region)
	}
}

const deployIt = "deploy the member template again, or correct fixtures in the configuration"

// named: what is not called like a canary's thing is refused by every guard.
func named(id string) error {
	if !strings.HasPrefix(id, canary.Marker+"-") {
		return fault{"its name does not begin with " + canary.Marker + "-, so that no canary may touch it", "name the fixture of the member template, not a thing of your own"}
	}
	return nil
}

// tagged: the injector may touch nothing else.
func tagged(tags map[string]string) error {
	if tags[tagFixture] != "fixture" {
		return fault{fmt.Sprintf("it lacks the tag %s=fixture, so that no canary may touch it", tagFixture), fmt.Sprintf("if it is the fixture, tag it: %s=fixture; else correct fixtures in the configuration", tagFixture)}
	}
	return nil
}

func (r *fixtureReader) group(ctx context.Context, id string) error {
	out, err := ec2.NewFromConfig(r.cfg).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
	if err != nil {
		return err
	}
	if len(out.SecurityGroups) != 1 {
		return errMute
	}
	return tagged(ec2Tags(out.SecurityGroups[0].Tags))
}

func (r *fixtureReader) vpc(ctx context.Context, id string) error {
	out, err := ec2.NewFromConfig(r.cfg).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{id}})
	if err != nil {
		return err
	}
	if len(out.Vpcs) != 1 {
		return errMute
	}
	return tagged(ec2Tags(out.Vpcs[0].Tags))
}

func (r *fixtureReader) snapshot(ctx context.Context, id string) error {
	out, err := ec2.NewFromConfig(r.cfg).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
	if err != nil {
		return err
	}
	if len(out.Snapshots) != 1 {
		return errMute
	}
	return tagged(ec2Tags(out.Snapshots[0].Tags))
}

// key reads a key's state, by its tags a fixture's.
func (r *fixtureReader) key(ctx context.Context, id string) (state string, err error) {
	client := kms.NewFromConfig(r.cfg)
	out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &id})
	if err != nil {
		return "", err
	}
	tags, err := client.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: &id})
	if err != nil {
		return "", unread{"kms:ListResourceTags", err}
	}
	have := map[string]string{}
	for _, t := range tags.Tags {
		have[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
	}
	if out.KeyMetadata == nil || out.KeyMetadata.KeyState == "" {
		return "", errMute
	}
	return string(out.KeyMetadata.KeyState), tagged(have)
}

func (r *fixtureReader) enabledKey(ctx context.Context, id string) error {
	state, err := r.key(ctx, id)
	if err == nil && state != "Enabled" {
		return fault{"the key is " + state, "auditcanary sweep (a canary that was cut off may have left it so); else enable it"}
	}
	return err
}

func (r *fixtureReader) pendingKey(ctx context.Context, id string) error {
	state, err := r.key(ctx, id)
	if err == nil && state != "PendingDeletion" {
		return fault{"the key is " + state + ", not about to be deleted", fmt.Sprintf("aws kms schedule-key-deletion --key-id %s --pending-window-in-days 30 --region %s", id, r.region)}
	}
	return err
}

func (r *fixtureReader) bucket(ctx context.Context, id string) error {
	if _, err := r.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &id}); err != nil {
		return err
	}
	return named(id)
}

func (r *fixtureReader) lockedBucket(ctx context.Context, id string) error {
	out, err := r.s3.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &id})
	var lock = newLock(nil)
	switch {
	case thereIsNone(err, "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration"):
	case err != nil:
		return err
	default:
		lock = newLock(out.ObjectLockConfiguration)
	}
	if !lock.Enabled || lock.Mode != "COMPLIANCE" {
		return fault{"it has no default retention in mode COMPLIANCE", "deploy the member template again: probes are to be stopped by the lock, and there is none"}
	}
	return named(id)
}

func (r *fixtureReader) object(ctx context.Context, id string) error {
	bucket, ok := r.target.fixture(r.region, fixtureLockedBucket)
	if !ok {
		return fault{"fixtures name no " + fixtureLockedBucket + " that it is in", "add " + fixtureLockedBucket + " beside it"}
	}
	out, err := r.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &id, MaxKeys: aws.Int32(1)})
	if err != nil {
		return err
	}
	if len(out.Contents) == 0 || aws.ToString(out.Contents[0].Key) != id {
		return fault{"bucket " + bucket + " has no such object", "echo nothing | aws s3 cp - s3://" + bucket + "/" + id}
	}
	return nil
}

func (r *fixtureReader) trail(ctx context.Context, id string) error {
	if _, err := cloudtrail.NewFromConfig(r.cfg).GetTrail(ctx, &cloudtrail.GetTrailInput{Name: &id}); err != nil {
		return err
	}
	return named(id)
}

func (r *fixtureReader) seenTrail(ctx context.Context, arn string) error {
	out, err := cloudtrail.NewFromConfig(r.cfg).DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
	if err != nil {
		return err
	}
	for _, t := range out.TrailList {
		if aws.ToString(t.TrailARN) == arn {
			return nil
		}
	}
	return fault{"no such trail is seen from " + r.region, deployIt}
}

// group of logs by name, with whether it is protected.
func (r *fixtureReader) logs(ctx context.Context, id string) (protected bool, err error) {
	pages := cloudwatchlogs.NewDescribeLogGroupsPaginator(cloudwatchlogs.NewFromConfig(r.cfg), &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &id})
	for n := 0; pages.HasMorePages(); n++ {
		if n == maxPages {
			return false, errEndless
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return false, err
		}
		for _, g := range page.LogGroups {
			if aws.ToString(g.LogGroupName) == id {
				return aws.ToBool(g.DeletionProtectionEnabled), named(id)
			}
		}
	}
	return false, fault{"it is not there", deployIt}
}

func (r *fixtureReader) logGroup(ctx context.Context, id string) error {
	_, err := r.logs(ctx, id)
	return err
}

func (r *fixtureReader) protectedLogGroup(ctx context.Context, id string) error {
	protected, err := r.logs(ctx, id)
	if err == nil && !protected {
		return fault{"its deletion protection is off", fmt.Sprintf("aws logs put-log-group-deletion-protection --log-group-identifier %s --deletion-protection-enabled --region %s", id, r.region)}
	}
	return err
}

func (r *fixtureReader) rule(ctx context.Context, id string) error {
	out, err := eventbridge.NewFromConfig(r.cfg).DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: &id})
	if err != nil {
		return err
	}
	if out.State == "DISABLED" {
		return fault{"the rule is disabled", fmt.Sprintf("aws events enable-rule --name %s --region %s, and look for who disabled it", id, r.region)}
	}
	return named(id)
}

func (r *fixtureReader) detector(ctx context.Context, id string) error {
	out, err := guardduty.NewFromConfig(r.cfg).GetDetector(ctx, &guardduty.GetDetectorInput{DetectorId: &id})
	if err == nil && out.Status != "ENABLED" {
		return fault{"the detector is suspended", fmt.Sprintf("aws guardduty update-detector --detector-id %s --enable --region %s", id, r.region)}
	}
	return err
}

func (r *fixtureReader) hub(ctx context.Context, id string) error {
	out, err := securityhub.NewFromConfig(r.cfg).DescribeHub(ctx, &securityhub.DescribeHubInput{})
	if err == nil && aws.ToString(out.HubArn) != id {
		return fault{"the hub here is " + cut(aws.ToString(out.HubArn), 200), "correct security_hub under fixtures in the configuration"}
	}
	return err
}

func (r *fixtureReader) cluster(ctx context.Context, id string) error {
	out, err := eks.NewFromConfig(r.cfg).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &id})
	switch {
	case err != nil:
		return err
	case out.Cluster == nil:
		return errMute
	case out.Cluster.AccessConfig != nil && out.Cluster.AccessConfig.AuthenticationMode == "CONFIG_MAP":
		return fault{"its access is not managed by entries (authentication mode CONFIG_MAP)", fmt.Sprintf("aws eks update-cluster-config --name %s --access-config authenticationMode=API_AND_CONFIG_MAP --region %s", id, r.region)}
	}
	return nil
}

func (r *fixtureReader) role(id string, ours bool) error {
	for _, d := range r.roles.details {
		if aws.ToString(d.RoleName) != id {
			continue
		}
		if !ours {
			return nil
		}
		return tagged(tagMap(d.Tags))
	}
	return fault{"there is no such role", deployIt}
}

func (r *fixtureReader) vault(ctx context.Context, id string) error {
	out, err := backup.NewFromConfig(r.cfg).DescribeBackupVault(ctx, &backup.DescribeBackupVaultInput{BackupVaultName: &id})
	if err == nil && !aws.ToBool(out.Locked) {
		return fault{"the vault is not locked", "deploy the member template again: probes are to be stopped by the lock, and there is none"}
	}
	return err
}

func (r *fixtureReader) recoveryPoint(ctx context.Context, arn string) error {
	vault, ok := r.target.fixture(r.region, fixtureLockedVault)
	if !ok {
		return fault{"fixtures name no " + fixtureLockedVault + " that it is in", "add " + fixtureLockedVault + " beside it"}
	}
	_, err := backup.NewFromConfig(r.cfg).DescribeRecoveryPoint(ctx, &backup.DescribeRecoveryPointInput{BackupVaultName: &vault, RecoveryPointArn: &arn})
	return err
}
