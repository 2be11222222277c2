package aws

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	trailtypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/auditcanary/auditcanary/shared/inventory"
)

// SourcesQuery says what an inventory is taken of.
type SourcesQuery struct {
	Accounts []inventory.Account
	Regions  []string
	// Bucket of the archive, and the account and region it is in.
	Bucket string
	At     inventory.Place
	Alerts inventory.AlertPath
}

// readers is how many readings are under way at a time.
const readers = 16

// Sources reads what an inventory is taken of. What cannot be read is in the
// snapshot, with why; the rest goes on. The error is ctx's.
func (i *Inspector) Sources(ctx context.Context, q SourcesQuery) (inventory.Snapshot, error) {
	r := &sourceReader{i: i, ctx: ctx, refused: map[string]bool{}, trails: map[string]inventory.Trail{}, slots: make(chan struct{}, readers)}
	r.out.Accounts, r.out.Regions = q.Accounts, q.Regions
	for _, account := range q.accounts() {
		r.start(func() { r.enter(account) })
	}
	r.wait()
	for _, a := range q.Accounts {
		for _, region := range q.Regions {
			r.start(func() { r.list(inventory.Place{Account: a.ID, Region: region}) })
		}
	}
	if q.At.Account == "" {
		r.out.Unread = append(r.out.Unread, inventory.Unread{Place: q.At, What: "bucket " + q.Bucket, Why: "its account is not known: name the reader role of that account, log_stores.role_arn in the configuration"})
	} else {
		r.start(func() { r.bucket(q.At, q.Bucket) })
	}
	r.alerts(q.Alerts)
	r.wait()
	for _, arn := range slices.Sorted(maps.Keys(r.trails)) {
		r.start(func() { r.selectors(arn) })
	}
	r.wait()
	r.recordings(q.Bucket)
	r.keys(q)
	r.wait()
	for _, arn := range slices.Sorted(maps.Keys(r.trails)) {
		r.out.Trails = append(r.out.Trails, r.trails[arn])
	}
	inOrder(&r.out)
	return r.out, ctx.Err()
}

// accounts are all in which anything is to be read.
func (q SourcesQuery) accounts() []string {
	var ids []string
	if q.At.Account != "" {
		ids = append(ids, q.At.Account)
	}
	for _, a := range q.Accounts {
		ids = append(ids, a.ID)
	}
	for _, p := range q.Alerts.Places() {
		ids = append(ids, p.Account)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// sourceReader collects a snapshot.
type sourceReader struct {
	i     *Inspector
	ctx   context.Context
	slots chan struct{}
	group sync.WaitGroup

	mu      sync.Mutex
	out     inventory.Snapshot
	trails  map[string]inventory.Trail // by ARN
	refused map[string]bool            // accounts that let nobody in
}

// inOrder brings what came in any order into one.
func inOrder(s *inventory.Snapshot) {
	place := func(a, b inventory.Place) int { return strings.Compare(a.Account+a.Region, b.Account+b.Region) }
	slices.SortFunc(s.Listed, place)
	slices.SortFunc(s.Recordings, func(a, b inventory.Recording) int {
		return strings.Compare(a.Account+a.Region+a.Trail, b.Account+b.Region+b.Trail)
	})
	slices.SortFunc(s.Keys, func(a, b inventory.Key) int { return strings.Compare(a.ARN, b.ARN) })
	slices.SortFunc(s.Unread, func(a, b inventory.Unread) int {
		return strings.Compare(a.What+a.Account+a.Region+a.Why, b.What+b.Account+b.Region+b.Why)
	})
}

// start does one reading as soon as there is a slot.
func (r *sourceReader) start(read func()) {
	r.group.Add(1)
	go func() {
		defer r.group.Done()
		r.slots <- struct{}{}
		defer func() { <-r.slots }()
		read()
	}()
}

func (r *sourceReader) wait() { r.group.Wait() }

// keep changes the snapshot.
func (r *sourceReader) keep(change func(*inventory.Snapshot)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.out)
}

// enter opens an account; one that lets nobody in is told once.
func (r *sourceReader) enter(account string) {
	region := homeRegion(r.i.o.Partition)
	if _, err := r.i.open(r.ctx, account, region); err != nil {
		r.keep(func(s *inventory.Snapshot) {
			r.refused[account] = true
			s.Unread = append(s.Unread, inventory.Unread{Place: inventory.Place{Account: account}, What: "account " + account, Why: err.Error()})
		})
	}
}

// at is the configuration for a place's clients, if the account let us in.
func (r *sourceReader) at(p inventory.Place) (aws.Config, bool) {
	r.mu.Lock()
	refused := r.refused[p.Account]
	r.mu.Unlock()
	if refused {
		return aws.Config{}, false
	}
	cfg, err := r.i.open(r.ctx, p.Account, p.Region)
	if err != nil {
		r.unread(p, "account "+p.Account, err)
	}
	return cfg, err == nil
}

// unread notes what could not be read.
func (r *sourceReader) unread(p inventory.Place, what string, err error) {
	why := cut(r.i.explain(err, what, p.Account, p.Region).Error(), maxWhy)
	r.keep(func(s *inventory.Snapshot) {
		s.Unread = append(s.Unread, inventory.Unread{Place: p, What: what, Why: why})
	})
}

// maxWhy bounds, in bytes, what is told of one failure: its message is the service's.
const maxWhy = 2048

var errMute = errors.New("the reply does not say what was asked for")

// ask makes one call within its time. It reports false, and notes why, if the call
// failed; a code among absent means that there is none, which is an answer.
func ask[In, Out, Option any](r *sourceReader, p inventory.Place, what string, call func(context.Context, *In, ...func(*Option)) (*Out, error), in *In, absent ...string) (out *Out, there, ok bool) {
	ctx, cancel := r.i.bound(r.ctx)
	defer cancel()
	out, err := call(ctx, in)
	var api smithy.APIError
	switch {
	case err == nil:
		return out, true, true
	case errors.As(err, &api) && slices.Contains(absent, api.ErrorCode()):
		return nil, false, true
	}
	r.unread(p, what, err)
	return nil, false, false
}

// list reads which trails are seen in a place.
func (r *sourceReader) list(p inventory.Place) {
	cfg, ok := r.at(p)
	if !ok {
		return
	}
	const what = "cloudtrail:DescribeTrails"
	out, _, ok := ask(r, p, what, cloudtrail.NewFromConfig(cfg).DescribeTrails, &cloudtrail.DescribeTrailsInput{IncludeShadowTrails: aws.Bool(true)})
	if !ok {
		return
	}
	if slices.ContainsFunc(out.TrailList, func(t trailtypes.Trail) bool { return !strings.HasPrefix(aws.ToString(t.TrailARN), "arn:") }) {
		r.unread(p, what, errors.New("the reply names a trail without its ARN"))
		return
	}
	r.keep(func(s *inventory.Snapshot) {
		s.Listed = append(s.Listed, p)
		for _, t := range out.TrailList {
			arn := aws.ToString(t.TrailARN)
			s.Recordings = append(s.Recordings, inventory.Recording{Place: p, Trail: arn})
			if _, known := r.trails[arn]; !known {
				r.trails[arn] = newTrail(t)
			}
		}
	})
}

func newTrail(t trailtypes.Trail) inventory.Trail {
	out := inventory.Trail{
		ARN: aws.ToString(t.TrailARN), Name: aws.ToString(t.Name), Home: aws.ToString(t.HomeRegion),
		MultiRegion: aws.ToBool(t.IsMultiRegionTrail), Organization: aws.ToBool(t.IsOrganizationTrail),
		GlobalEvents: aws.ToBool(t.IncludeGlobalServiceEvents), Validation: aws.ToBool(t.LogFileValidationEnabled),
		Bucket: aws.ToString(t.S3BucketName), Prefix: aws.ToString(t.S3KeyPrefix), KeyARN: aws.ToString(t.KmsKeyId),
		LogGroup: aws.ToString(t.CloudWatchLogsLogGroupArn),
	}
	if f := strings.Split(out.ARN, ":"); len(f) > 4 {
		out.Account = f[4]
	}
	return out
}

// from is where a trail is asked about: its own account and home region, or,
// where nobody lets us in there, wherever it is seen.
func (r *sourceReader) from(t inventory.Trail) inventory.Place {
	r.mu.Lock()
	defer r.mu.Unlock()
	home := inventory.Place{Account: t.Account, Region: t.Home}
	var seen inventory.Place
	for _, rec := range r.out.Recordings {
		switch {
		case rec.Trail != t.ARN:
		case rec.Account == t.Account:
			return home
		case seen.Account == "" || rec.Account+rec.Region < seen.Account+seen.Region:
			seen = rec.Place
		}
	}
	seen.Region = t.Home
	return seen
}

// selectors reads what a trail records.
func (r *sourceReader) selectors(arn string) {
	r.mu.Lock()
	t := r.trails[arn]
	r.mu.Unlock()
	p := r.from(t)
	cfg, ok := r.at(p)
	if !ok {
		return
	}
	out, _, ok := ask(r, p, "cloudtrail:GetEventSelectors of "+arn, cloudtrail.NewFromConfig(cfg).GetEventSelectors, &cloudtrail.GetEventSelectorsInput{TrailName: &arn})
	if !ok {
		return
	}
	s := &inventory.Selectors{}
	for _, b := range out.EventSelectors {
		basic := inventory.BasicSelector{ReadWrite: string(b.ReadWriteType), Management: b.IncludeManagementEvents == nil || *b.IncludeManagementEvents, Excluded: b.ExcludeManagementEventSources, Resources: map[string][]string{}}
		for _, d := range b.DataResources {
			kind := aws.ToString(d.Type)
			basic.Data = append(basic.Data, kind)
			basic.Resources[kind] = append(basic.Resources[kind], d.Values...)
		}
		s.Basic = append(s.Basic, basic)
	}
	for _, a := range out.AdvancedEventSelectors {
		advanced := inventory.AdvancedSelector{Name: aws.ToString(a.Name)}
		for _, f := range a.FieldSelectors {
			c := inventory.Condition{Field: aws.ToString(f.Field), Equals: f.Equals, NotEquals: f.NotEquals}
			for name, values := range map[string][]string{"StartsWith": f.StartsWith, "EndsWith": f.EndsWith, "NotStartsWith": f.NotStartsWith, "NotEndsWith": f.NotEndsWith} {
				if len(values) > 0 {
					c.Other = append(c.Other, name)
				}
			}
			slices.Sort(c.Other)
			advanced.Fields = append(advanced.Fields, c)
		}
		s.Advanced = append(s.Advanced, advanced)
	}
	t.Selectors = s
	r.keep(func(*inventory.Snapshot) { r.trails[arn] = t })
}

// recordings reads what each trail does where it is seen. Of one that delivers
// elsewhere and records no management events nothing depends.
func (r *sourceReader) recordings(bucket string) {
	for n, rec := range r.out.Recordings {
		t := r.trails[rec.Trail]
		if t.Bucket != bucket && t.Selectors != nil && !t.Selectors.Management() {
			continue
		}
		r.start(func() {
			if s := r.status(rec.Place, rec.Trail); s != nil {
				r.keep(func(out *inventory.Snapshot) { out.Recordings[n].Status = s })
			}
		})
	}
}

func (r *sourceReader) status(p inventory.Place, arn string) *inventory.Status {
	cfg, ok := r.at(p)
	if !ok {
		return nil
	}
	what := "cloudtrail:GetTrailStatus of " + arn
	out, _, ok := ask(r, p, what, cloudtrail.NewFromConfig(cfg).GetTrailStatus, &cloudtrail.GetTrailStatusInput{Name: &arn})
	if !ok {
		return nil
	}
	at := serverTime(out.ResultMetadata)
	if at.IsZero() || out.IsLogging == nil {
		r.unread(p, what, errMute)
		return nil
	}
	return &inventory.Status{
		AsOf: at, Logging: *out.IsLogging, Started: aws.ToTime(out.StartLoggingTime), Stopped: aws.ToTime(out.StopLoggingTime),
		Delivered: aws.ToTime(out.LatestDeliveryTime), Digest: aws.ToTime(out.LatestDigestDeliveryTime),
		DeliveryError: aws.ToString(out.LatestDeliveryError), DigestError: aws.ToString(out.LatestDigestDeliveryError),
		LogGroupError: aws.ToString(out.LatestCloudWatchLogsDeliveryError),
	}
}

// serverTime is the provider's clock, by the reply's Date.
func serverTime(md middleware.Metadata) time.Time {
	t, _ := awsmiddleware.GetServerTime(md)
	return t.UTC()
}

// bucket reads what protects the archive.
func (r *sourceReader) bucket(p inventory.Place, name string) {
	cfg, ok := r.at(p)
	if !ok {
		return
	}
	b := inventory.Bucket{Name: name, Place: p}
	of := " of " + name
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })

	versioning, there, ok := ask(r, p, "s3:GetBucketVersioning"+of, client.GetBucketVersioning, &s3.GetBucketVersioningInput{Bucket: &name}, "NoSuchBucket")
	switch {
	case ok && !there:
		b.Missing = true
		r.keep(func(s *inventory.Snapshot) { s.Buckets = append(s.Buckets, b) })
		return
	case ok:
		b.Versioning = aws.String(string(versioning.Status))
	}
	lock, there, ok := ask(r, p, "s3:GetBucketObjectLockConfiguration"+of, client.GetObjectLockConfiguration, &s3.GetObjectLockConfigurationInput{Bucket: &name}, "ObjectLockConfigurationNotFoundError", "NoSuchObjectLockConfiguration")
	if ok {
		b.Lock = &inventory.Lock{}
		if there {
			b.Lock = newLock(lock.ObjectLockConfiguration)
		}
	}
	life, there, ok := ask(r, p, "s3:GetLifecycleConfiguration"+of, client.GetBucketLifecycleConfiguration, &s3.GetBucketLifecycleConfigurationInput{Bucket: &name}, "NoSuchLifecycleConfiguration")
	if ok {
		b.Lifecycle = &[]inventory.LifecycleRule{}
		if there {
			b.Lifecycle = newLifecycle(life.Rules)
		}
	}
	status, there, ok := ask(r, p, "s3:GetBucketPolicyStatus"+of, client.GetBucketPolicyStatus, &s3.GetBucketPolicyStatusInput{Bucket: &name}, "NoSuchBucketPolicy")
	switch {
	case ok && !there:
		b.Public = aws.Bool(false)
	case ok && status.PolicyStatus != nil:
		b.Public = aws.Bool(aws.ToBool(status.PolicyStatus.IsPublic))
	case ok:
		r.unread(p, "s3:GetBucketPolicyStatus"+of, errMute)
	}
	replication, there, ok := ask(r, p, "s3:GetReplicationConfiguration"+of, client.GetBucketReplication, &s3.GetBucketReplicationInput{Bucket: &name}, "ReplicationConfigurationNotFoundError")
	if ok {
		b.Replication = &[]inventory.ReplicationRule{}
		if there && replication.ReplicationConfiguration != nil {
			b.Replication = newReplication(replication.ReplicationConfiguration.Rules)
		}
	}
	encryption, there, ok := ask(r, p, "s3:GetEncryptionConfiguration"+of, client.GetBucketEncryption, &s3.GetBucketEncryptionInput{Bucket: &name}, "ServerSideEncryptionConfigurationNotFoundError")
	if ok {
		b.KeyARN = aws.String("")
		if there && encryption.ServerSideEncryptionConfiguration != nil {
			for _, rule := range encryption.ServerSideEncryptionConfiguration.Rules {
				if d := rule.ApplyServerSideEncryptionByDefault; d != nil && d.SSEAlgorithm != s3types.ServerSideEncryptionAes256 {
					b.KeyARN = aws.String(aws.ToString(d.KMSMasterKeyID))
				}
			}
		}
	}
	r.keep(func(s *inventory.Snapshot) { s.Buckets = append(s.Buckets, b) })
}

func newLock(c *s3types.ObjectLockConfiguration) *inventory.Lock {
	out := &inventory.Lock{}
	if c == nil || c.ObjectLockEnabled != s3types.ObjectLockEnabledEnabled {
		return out
	}
	out.Enabled = true
	if c.Rule != nil && c.Rule.DefaultRetention != nil {
		d := c.Rule.DefaultRetention
		out.Mode, out.Days = string(d.Mode), int(aws.ToInt32(d.Days))+365*int(aws.ToInt32(d.Years))
	}
	return out
}

func newLifecycle(rules []s3types.LifecycleRule) *[]inventory.LifecycleRule {
	out := []inventory.LifecycleRule{}
	for _, r := range rules {
		if r.Status == s3types.ExpirationStatusDisabled {
			continue
		}
		one := inventory.LifecycleRule{ID: aws.ToString(r.ID)}
		//lint:ignore SA1019 rules that were made long ago have it here
		one.Prefix = aws.ToString(r.Prefix)
		if f := r.Filter; f != nil {
			one.Prefix = aws.ToString(f.Prefix)
			if f.And != nil {
				one.Prefix = aws.ToString(f.And.Prefix)
			}
		}
		if e := r.Expiration; e != nil {
			one.ExpireDays, one.ExpireOn = int(aws.ToInt32(e.Days)), aws.ToTime(e.Date)
		}
		if e := r.NoncurrentVersionExpiration; e != nil {
			one.OldVersions = int(aws.ToInt32(e.NoncurrentDays))
		}
		out = append(out, one)
	}
	return &out
}

func newReplication(rules []s3types.ReplicationRule) *[]inventory.ReplicationRule {
	out := []inventory.ReplicationRule{}
	for _, r := range rules {
		one := inventory.ReplicationRule{ID: aws.ToString(r.ID), Enabled: r.Status == s3types.ReplicationRuleStatusEnabled}
		if r.Destination != nil {
			one.Destination = aws.ToString(r.Destination.Bucket)
		}
		out = append(out, one)
	}
	return &out
}

// keys reads those that the archive and the trails that deliver to it use.
func (r *sourceReader) keys(q SourcesQuery) {
	wanted := map[string]inventory.Place{} // by the key's name
	for _, b := range r.out.Buckets {
		if b.KeyARN != nil && *b.KeyARN != "" {
			wanted[*b.KeyARN] = q.At
		}
	}
	for _, t := range r.trails {
		if t.Bucket == q.Bucket && t.KeyARN != "" {
			wanted[t.KeyARN] = inventory.Place{Account: t.Account, Region: q.At.Region}
		}
	}
	known := q.accounts()
	for name, p := range wanted {
		if f := strings.Split(name, ":"); len(f) > 5 && f[0] == "arn" {
			if p.Region = f[3]; slices.Contains(known, f[4]) {
				p.Account = f[4]
			}
		}
		r.start(func() { r.key(p, name) })
	}
}

func (r *sourceReader) key(p inventory.Place, name string) {
	cfg, ok := r.at(p)
	if !ok {
		return
	}
	what := "kms:DescribeKey of " + name
	out, there, ok := ask(r, p, what, kms.NewFromConfig(cfg).DescribeKey, &kms.DescribeKeyInput{KeyId: &name}, "NotFoundException")
	if !ok {
		return
	}
	k := inventory.Key{ARN: name, Place: p, Missing: !there}
	if there {
		m := out.KeyMetadata
		if m == nil || m.KeyState == "" {
			r.unread(p, what, errMute)
			return
		}
		k.State, k.Origin, k.Manager = string(m.KeyState), string(m.Origin), string(m.KeyManager)
		k.Deletion, k.Expires = aws.ToTime(m.DeletionDate), aws.ToTime(m.ValidTo)
	}
	r.keep(func(s *inventory.Snapshot) { s.Keys = append(s.Keys, k) })
}
