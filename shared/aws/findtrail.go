package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// FoundTrail is where a trail delivers to.
type FoundTrail struct {
	Name, HomeRegion, Account string
	Bucket, Prefix            string
	// OrganizationID ("o-...") of an organisation trail.
	OrganizationID string
}

// DescribeTrail asks a trail, by its ARN, where it delivers to, and for an
// organisation trail the organisation's id (cloudtrail:DescribeTrails,
// organizations:DescribeOrganization). Even with an error, what the ARN itself says
// is returned.
func DescribeTrail(ctx context.Context, cfg awssdk.Config, trailARN string) (FoundTrail, error) {
	a, err := arn.Parse(trailARN)
	name, isTrail := strings.CutPrefix(a.Resource, "trail/")
	if err != nil || a.Service != "cloudtrail" || !isTrail || name == "" {
		return FoundTrail{}, fmt.Errorf("%q is not the ARN of a trail (arn:aws:cloudtrail:REGION:ACCOUNT:trail/NAME)", trailARN)
	}
	t := FoundTrail{Name: name, HomeRegion: a.Region, Account: a.AccountID}
	cfg.Region = a.Region
	out, err := cloudtrail.NewFromConfig(cfg).DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{TrailNameList: []string{trailARN}})
	if err == nil && len(out.TrailList) == 0 {
		err = errors.New("there is no such trail, or these credentials may not see it; of a deleted trail, or from another account, name the archive with --s3-bucket, --s3-prefix, --account-id and --region")
	}
	if err != nil {
		return t, fmt.Errorf("cloudtrail:DescribeTrails %s: %w", trailARN, err)
	}
	found := out.TrailList[0]
	t.Bucket, t.Prefix = awssdk.ToString(found.S3BucketName), awssdk.ToString(found.S3KeyPrefix)
	if home := awssdk.ToString(found.HomeRegion); home != "" {
		t.HomeRegion = home
	}
	if awssdk.ToBool(found.IsOrganizationTrail) {
		org, err := organizations.NewFromConfig(cfg).DescribeOrganization(ctx, &organizations.DescribeOrganizationInput{})
		if err != nil || org.Organization == nil || org.Organization.Id == nil {
			return t, fmt.Errorf("organizations:DescribeOrganization, for the archive of organisation trail %s: %w", trailARN, errors.Join(err, errors.New("without the organisation's id its files cannot be found")))
		}
		t.OrganizationID = *org.Organization.Id
	}
	return t, nil
}

// BucketRegion asks where a bucket is (s3:GetBucketLocation).
func BucketRegion(ctx context.Context, cfg awssdk.Config, bucket string) (string, error) {
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = cfg.BaseEndpoint != nil })
	out, err := client.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: &bucket})
	if err != nil {
		hint := archiveHint("GetBucketLocation", bucket, err)
		if hint != "" {
			hint = " (" + hint + ")"
		}
		return "", fmt.Errorf("s3:GetBucketLocation %s: %w%s", bucket, err, hint)
	}
	switch region := string(out.LocationConstraint); region {
	case "":
		return "us-east-1", nil
	case "EU":
		return "eu-west-1", nil
	default:
		return region, nil
	}
}
