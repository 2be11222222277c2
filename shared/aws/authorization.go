package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	trailtypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"

	"github.com/auditcanary/auditcanary/shared/access"
)

// AuthorizationQuery says of what it is asked who can tamper with it.
type AuthorizationQuery struct {
	// Accounts to look into, and Regions in which trails are looked for.
	Accounts, Regions []string
	// Organization is its id, "" if there is none. Management is the account that is
	// asked for its policies, in OrganizationRegion; "" if it is not known.
	Organization, Management, OrganizationRegion string
	// Bucket of the archive, and the account (may be "") and region it is in.
	Bucket, BucketAccount, BucketRegion string
	// Targets are the accounts that people act in, Injectors the roles with which this
	// program does.
	Targets, Injectors []string
	// Things are what else is asked about (rules, topics, alarms); of topics the
	// policies are read.
	Things []*access.Resource
}

// Authorization collects who may do what, and who may do it to the archive. What
// cannot be read is in the world, with why; the rest goes on. The error is ctx's.
func (i *Inspector) Authorization(ctx context.Context, q AuthorizationQuery) (*access.World, error) {
	r := &authReader{i: i, ctx: ctx, q: q, slots: make(chan struct{}, readers)}
	r.world = &access.World{Organization: q.Organization, Management: q.Management, Accounts: map[string]*access.Account{}, Targets: q.Targets, Injectors: q.Injectors}
	var accounts []*access.Account
	for _, id := range q.Accounts {
		accounts = append(accounts, &access.Account{ID: id})
		r.world.Accounts[id] = accounts[len(accounts)-1]
	}
	for _, a := range accounts {
		r.start(func() { r.account(a) })
	}
	r.start(r.organization)
	r.wait()
	r.bucket()
	r.wait()
	r.trails()
	r.wait()
	for _, t := range r.q.Things {
		if r.add(t) && t.Kind == "topic" {
			r.start(func() { r.topic(t) })
		}
	}
	r.wait()
	slices.SortFunc(r.world.Resources, func(a, b *access.Resource) int { return strings.Compare(a.Kind+a.ARN, b.Kind+b.ARN) })
	slices.SortFunc(r.world.Gaps, func(a, b access.Gap) int {
		return strings.Compare(a.Account+a.What+a.Why, b.Account+b.What+b.Why)
	})
	return r.world, ctx.Err()
}

// authReader collects a world.
type authReader struct {
	i     *Inspector
	ctx   context.Context
	q     AuthorizationQuery
	slots chan struct{}
	group sync.WaitGroup

	mu    sync.Mutex
	world *access.World
	// delegates are the delegated administrators of CloudTrail.
	delegates []string
}

// start does one reading as soon as there is a slot.
func (r *authReader) start(read func()) {
	r.group.Go(func() {
		r.slots <- struct{}{}
		defer func() { <-r.slots }()
		read()
	})
}

func (r *authReader) wait() { r.group.Wait() }

// gap notes what could not be read.
func (r *authReader) gap(account, what, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.world.Gaps = append(r.world.Gaps, access.Gap{Account: account, What: what, Why: why})
}

// add puts a resource into the world, once.
func (r *authReader) add(at *access.Resource) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.world.Resources, func(o *access.Resource) bool { return o.Kind == at.Kind && o.ARN == at.ARN }) {
		return false
	}
	r.world.Resources = append(r.world.Resources, at)
	return true
}

// unreadPolicy is a policy that is there, or may be, and is not known.
func unreadPolicy(kind, name string, err error) access.Policy {
	return access.Policy{Kind: kind, Name: name, Unread: cut(err.Error(), 1024)}
}

func (r *authReader) rootARN(account string) string {
	return "arn:" + r.i.o.Partition + ":iam::" + account + ":root"
}

// account reads the principals of an account.
func (r *authReader) account(a *access.Account) {
	d, err := r.details(a.ID)
	if err != nil {
		a.Unread = cut(err.Error(), 1024)
		return
	}
	a.Principals = append(d.principals(a.ID), &access.Principal{Kind: access.Root, ARN: r.rootARN(a.ID), Account: a.ID})
	slices.SortFunc(a.Principals, func(a, b *access.Principal) int { return strings.Compare(a.ARN, b.ARN) })
}

// details are the account authorization details, all pages together.
type details struct {
	users    []iamtypes.UserDetail
	groups   map[string]iamtypes.GroupDetail
	roles    []iamtypes.RoleDetail
	managed  map[string]access.Policy // by ARN
	fallback func(arn string) access.Policy
}

func (r *authReader) details(account string) (*details, error) {
	const what = "iam:GetAccountAuthorizationDetails"
	region := homeRegion(r.i.o.Partition)
	cfg, err := r.i.open(r.ctx, account, region)
	if err != nil {
		return nil, err
	}
	client := iam.NewFromConfig(cfg)
	d := &details{groups: map[string]iamtypes.GroupDetail{}, managed: map[string]access.Policy{}}
	d.fallback = func(arn string) access.Policy { return r.managed(client, account, region, arn) }
	pages := iam.NewGetAccountAuthorizationDetailsPaginator(client, &iam.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(1000)})
	for n := 0; pages.HasMorePages(); n++ {
		if n == maxPages {
			return nil, r.i.explain(errEndless, what, account, region)
		}
		ctx, cancel := r.i.bound(r.ctx)
		page, err := pages.NextPage(ctx)
		cancel()
		if err != nil {
			return nil, r.i.explain(err, what, account, region)
		}
		d.users = append(d.users, page.UserDetailList...)
		d.roles = append(d.roles, page.RoleDetailList...)
		for _, g := range page.GroupDetailList {
			d.groups[aws.ToString(g.GroupName)] = g
		}
		for _, p := range page.Policies {
			arn := aws.ToString(p.Arn)
			for _, v := range p.PolicyVersionList {
				if v.IsDefaultVersion {
					d.managed[arn] = encoded("managed policy", arn, v.Document)
				}
			}
		}
	}
	return d, nil
}

// encoded is a policy whose document is URL-encoded, as IAM's replies hold it.
func encoded(kind, name string, document *string) access.Policy {
	if document == nil {
		return unreadPolicy(kind, name, errors.New("the reply has no document"))
	}
	text, err := url.PathUnescape(*document) // a plus sign stands for itself
	if err != nil {
		return unreadPolicy(kind, name, fmt.Errorf("the document is not URL-encoded: %w", err))
	}
	return access.NewPolicy(kind, name, []byte(text))
}

// managed reads a managed policy that the details only name.
func (r *authReader) managed(client *iam.Client, account, region, arn string) access.Policy {
	ctx, cancel := r.i.bound(r.ctx)
	defer cancel()
	p, err := client.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: &arn})
	if err == nil && (p.Policy == nil || p.Policy.DefaultVersionId == nil) {
		err = errors.New("the reply names no version")
	}
	if err != nil {
		return unreadPolicy("managed policy", arn, r.i.explain(err, "iam:GetPolicy of "+arn, account, region))
	}
	v, err := client.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: p.Policy.DefaultVersionId})
	if err == nil && v.PolicyVersion == nil {
		err = errors.New("the reply has no version")
	}
	if err != nil {
		return unreadPolicy("managed policy", arn, r.i.explain(err, "iam:GetPolicyVersion of "+arn, account, region))
	}
	return encoded("managed policy", arn, v.PolicyVersion.Document)
}

// policy is a managed policy by ARN.
func (d *details) policy(arn string) access.Policy {
	p, ok := d.managed[arn]
	if !ok {
		p = d.fallback(arn)
		d.managed[arn] = p
	}
	return p
}

func (d *details) attached(list []iamtypes.AttachedPolicy, through string) []access.Policy {
	var out []access.Policy
	for _, a := range list {
		p := d.policy(aws.ToString(a.PolicyArn))
		p.Through = through
		out = append(out, p)
	}
	return out
}

func inlinePolicies(list []iamtypes.PolicyDetail, through string) []access.Policy {
	var out []access.Policy
	for _, p := range list {
		policy := encoded("inline policy", aws.ToString(p.PolicyName), p.PolicyDocument)
		policy.Through = through
		out = append(out, policy)
	}
	return out
}

func (d *details) boundary(b *iamtypes.AttachedPermissionsBoundary) *access.Policy {
	if b == nil || aws.ToString(b.PermissionsBoundaryArn) == "" {
		return nil
	}
	p := d.policy(*b.PermissionsBoundaryArn)
	p.Kind = "permissions boundary"
	return &p
}

func (d *details) principals(account string) []*access.Principal {
	var out []*access.Principal
	for _, u := range d.users {
		p := &access.Principal{Kind: access.User, ARN: aws.ToString(u.Arn), ID: aws.ToString(u.UserId), Account: account, Tags: map[string]string{}, Boundary: d.boundary(u.PermissionsBoundary)}
		for _, t := range u.Tags {
			p.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		p.Policies = append(inlinePolicies(u.UserPolicyList, ""), d.attached(u.AttachedManagedPolicies, "")...)
		for _, name := range u.GroupList {
			through := "group " + name
			g, ok := d.groups[name]
			if !ok {
				missing := unreadPolicy("policies", "", errors.New("the reply does not have the group"))
				missing.Through = through
				p.Policies = append(p.Policies, missing)
				continue
			}
			p.Policies = append(p.Policies, inlinePolicies(g.GroupPolicyList, through)...)
			p.Policies = append(p.Policies, d.attached(g.AttachedManagedPolicies, through)...)
		}
		out = append(out, p)
	}
	for _, role := range d.roles {
		arn := aws.ToString(role.Arn)
		trust := encoded("trust policy of", arn, role.AssumeRolePolicyDocument)
		p := &access.Principal{
			Kind: access.Role, ARN: arn, ID: aws.ToString(role.RoleId), Account: account, Trust: &trust,
			Boundary: d.boundary(role.PermissionsBoundary), ServiceLinked: strings.HasPrefix(aws.ToString(role.Path), "/aws-service-role/"),
		}
		p.Policies = append(inlinePolicies(role.RolePolicyList, ""), d.attached(role.AttachedManagedPolicies, "")...)
		out = append(out, p)
	}
	return out
}

// thereIsNone reads a call's error: whether it means that there is none of what was
// asked for, or that it could not be read.
func thereIsNone(err error, codes ...string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode())
}

// bucket adds the archive's bucket and its objects.
func (r *authReader) bucket() {
	q := r.q
	arn := "arn:" + r.i.o.Partition + ":s3:::" + q.Bucket
	policies, key := r.bucketPolicy()
	for _, at := range []*access.Resource{{Kind: "bucket", ARN: arn}, {Kind: "object", ARN: arn + "/*"}} {
		at.Account, at.Region, at.Archive, at.RCPs, at.Policies = q.BucketAccount, q.BucketRegion, true, true, policies
		r.add(at)
	}
	if key != "" {
		r.start(func() { r.key(key, q.BucketAccount, q.BucketRegion) })
	}
}

// bucketPolicy reads the bucket's policy, and with which key what arrives is
// encrypted if the trail names none.
func (r *authReader) bucketPolicy() (policies []access.Policy, key string) {
	const kind = "bucket policy"
	q := r.q
	if q.BucketAccount == "" {
		return []access.Policy{unreadPolicy(kind, "", errors.New("the bucket's account is not known: name the reader role of that account, log_stores.role_arn in the configuration"))}, ""
	}
	cfg, err := r.i.open(r.ctx, q.BucketAccount, q.BucketRegion)
	if err != nil {
		return []access.Policy{unreadPolicy(kind, "", err)}, ""
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
	ctx, cancel := r.i.bound(r.ctx)
	defer cancel()
	out, err := client.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &q.Bucket})
	switch {
	case thereIsNone(err, "NoSuchBucketPolicy"):
	case err != nil:
		policies = append(policies, unreadPolicy(kind, "", r.i.explain(err, "s3:GetBucketPolicy of "+q.Bucket, q.BucketAccount, q.BucketRegion)))
	default:
		policies = append(policies, access.NewPolicy(kind, "", []byte(aws.ToString(out.Policy))))
	}
	enc, err := client.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &q.Bucket})
	switch {
	case thereIsNone(err, "ServerSideEncryptionConfigurationNotFoundError"):
	case err != nil:
		r.gap(q.BucketAccount, "the key of bucket "+q.Bucket, r.i.explain(err, "s3:GetEncryptionConfiguration of "+q.Bucket, q.BucketAccount, q.BucketRegion).Error())
	case enc.ServerSideEncryptionConfiguration != nil:
		for _, rule := range enc.ServerSideEncryptionConfiguration.Rules {
			if d := rule.ApplyServerSideEncryptionByDefault; d != nil && d.SSEAlgorithm != s3types.ServerSideEncryptionAes256 {
				key = aws.ToString(d.KMSMasterKeyID)
			}
		}
	}
	return policies, key
}

// trails looks for what delivers into the bucket, in every account and region.
func (r *authReader) trails() {
	for _, id := range r.q.Accounts {
		if r.world.Accounts[id].Unread != "" {
			continue // named already
		}
		for _, region := range r.q.Regions {
			r.start(func() { r.trailsOf(id, region) })
		}
	}
}

func (r *authReader) trailsOf(account, region string) {
	const what = "cloudtrail:DescribeTrails"
	cfg, err := r.i.open(r.ctx, account, region)
	if err == nil {
		ctx, cancel := r.i.bound(r.ctx)
		defer cancel()
		var out *cloudtrail.DescribeTrailsOutput
		out, err = cloudtrail.NewFromConfig(cfg).DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
		if err == nil {
			for _, t := range out.TrailList {
				if aws.ToString(t.S3BucketName) == r.q.Bucket {
					r.trail(t)
				}
			}
			return
		}
	}
	r.gap(account, "trails in "+region, r.i.explain(err, what, account, region).Error())
}

// trail adds a trail, with the key, topic and log group that it names.
func (r *authReader) trail(t trailtypes.Trail) {
	arn := aws.ToString(t.TrailARN)
	account := arnPart(arn, 4)
	at := &access.Resource{Kind: "trail", ARN: arn, Account: account, Region: aws.ToString(t.HomeRegion), Archive: true, NoPolicies: true}
	if aws.ToBool(t.IsOrganizationTrail) {
		at.Delegates = r.delegates
	}
	if !r.add(at) {
		return
	}
	if aws.ToBool(t.IsOrganizationTrail) { // it is of the management account
		id := cmp.Or(r.q.Organization, "*")
		r.add(&access.Resource{Kind: "organization", ARN: "arn:" + r.i.o.Partition + ":organizations::" + account + ":organization/" + id, Account: account, Archive: true, NoPolicies: true})
	}
	if key := aws.ToString(t.KmsKeyId); key != "" {
		r.start(func() { r.key(key, account, aws.ToString(t.HomeRegion)) })
	}
	if topic := aws.ToString(t.SnsTopicARN); topic != "" {
		at := &access.Resource{Kind: "topic", ARN: topic, Account: arnPart(topic, 4), Region: arnPart(topic, 3)}
		if r.add(at) {
			r.start(func() { r.topic(at) })
		}
	}
	if group := strings.TrimSuffix(aws.ToString(t.CloudWatchLogsLogGroupArn), ":*"); group != "" {
		r.add(&access.Resource{Kind: "log-group", ARN: group, Forms: access.LogGroupForms(group), Account: arnPart(group, 4), Region: arnPart(group, 3), Archive: true, NoPolicies: true})
	}
}

// arnPart is a part of an ARN by its number, "" if it has none.
func arnPart(arn string, n int) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[n]
}

// key adds a key with its policy. One that is named by its id alone is of the
// account and region that name it.
func (r *authReader) key(key, account, region string) {
	if !strings.HasPrefix(key, "arn:") {
		if strings.HasPrefix(key, "alias/") {
			r.gap(account, "key "+key, "it is named by an alias: name it by its ARN")
			return
		}
		key = "arn:" + r.i.o.Partition + ":kms:" + region + ":" + account + ":key/" + key
	}
	account, region = arnPart(key, 4), arnPart(key, 3)
	at := &access.Resource{Kind: "key", ARN: key, Account: account, Region: region, Archive: true, PolicyDecides: true, RCPs: true}
	const kind = "key policy"
	cfg, err := r.i.open(r.ctx, account, region)
	if err == nil {
		ctx, cancel := r.i.bound(r.ctx)
		defer cancel()
		var out *kms.GetKeyPolicyOutput
		out, err = kms.NewFromConfig(cfg).GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &key})
		if err == nil {
			at.Policies = []access.Policy{access.NewPolicy(kind, "", []byte(aws.ToString(out.Policy)))}
		} else {
			err = r.i.explain(err, "kms:GetKeyPolicy of "+key, account, region)
		}
	}
	if err != nil {
		at.Policies = []access.Policy{unreadPolicy(kind, "", err)}
	}
	r.add(at)
}

// topic reads a topic's policy.
func (r *authReader) topic(at *access.Resource) {
	const kind = "topic policy"
	cfg, err := r.i.open(r.ctx, at.Account, at.Region)
	if err == nil {
		ctx, cancel := r.i.bound(r.ctx)
		defer cancel()
		var out *sns.GetTopicAttributesOutput
		out, err = sns.NewFromConfig(cfg).GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &at.ARN})
		switch {
		case err != nil:
			err = r.i.explain(err, "sns:GetTopicAttributes of "+at.ARN, at.Account, at.Region)
		case out.Attributes["Policy"] != "":
			at.Policies = []access.Policy{access.NewPolicy(kind, "", []byte(out.Attributes["Policy"]))}
			return
		default:
			return
		}
	}
	at.Policies = []access.Policy{unreadPolicy(kind, "", err)}
}
