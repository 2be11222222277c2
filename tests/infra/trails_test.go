package infra

import (
	"path/filepath"
	"testing"

	"github.com/auditcanary/auditcanary/tests/cfn"
)

// TestTheTrailsFitBesideTheOrganisations: a region may have five trails, those of other
// regions counted that it sees, and the organisation's is one of them.
func TestTheTrailsFitBesideTheOrganisations(t *testing.T) {
	template, err := cfn.Load(filepath.Join(dir, "member.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	regions := []string{"us-east-1", "eu-west-1", "eu-central-1", "ap-southeast-1", "us-west-2", "sa-east-1"}
	for n := 2; n <= len(regions); n++ {
		for _, second := range []string{"", "eu-west-1"} {
			local, multi := map[string]int{}, map[string]int{}
			all := 0
			for _, region := range regions[:n] {
				v := values(region)
				v["HomeRegion"], v["SecondRegion"] = "us-east-1", second
				made, err := template.Resolve(v)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range made {
					if r.Type != "AWS::CloudTrail::Trail" {
						continue
					}
					local[region]++
					if r.Properties["IsMultiRegionTrail"] == true {
						multi[region]++
						all++
					}
				}
			}
			for _, region := range regions[:n] {
				elsewhere := all - multi[region]
				if has := local[region] + elsewhere; has > 4 || has < 3 {
					t.Errorf("%d regions, second %q: %s has %d trails of ours", n, second, region, has)
				}
				if elsewhere == 0 && (second != "" || region != "us-east-1") {
					t.Errorf("%d regions, second %q: %s sees no trail of elsewhere", n, second, region)
				}
			}
		}
	}
}
