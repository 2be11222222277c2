package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/run"
)

// loggingOperations: what records and what watches.
var loggingOperations = map[string]operation{
	// Logging: trails through which nothing flows.
	"cloudtrail:StopLogging":  {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).StopLogging), subject: on("Name"), undo: "cloudtrail:StartLogging", guards: guards{markedName("Name")}, grants: grants{allow(trail, nil, "cloudtrail:StopLogging")}},
	"cloudtrail:StartLogging": {call: call(cloudtrail.NewFromConfig, (*cloudtrail.Client).StartLogging), subject: on("Name"), restores: true, guards: guards{markedName("Name")}, grants: grants{allow(trail, nil, "cloudtrail:StartLogging")}},
}

// loggingKinds are what these leave behind.
var loggingKinds = []kind{
	{name: "cloudtrail trail stopped", list: leftTrails, reads: grants{
		allow("arn:{partition}:cloudtrail:{region}:{account}:trail/auditcanary-*", nil, "cloudtrail:GetTrailStatus"),
	}},
}

// fixtureTrails ends the names of the trails that a sweep starts: decoy_trail, locked_trail.
const fixtureTrails = "_trail"

// leftTrails: the fixture trails that do not log.
func leftTrails(ctx context.Context, p place) ([]run.Leftover, error) {
	var left []run.Leftover
	for _, fixture := range slices.Sorted(maps.Keys(p.scene.fixtures)) {
		if !strings.HasSuffix(fixture, fixtureTrails) {
			continue
		}
		name := p.scene.fixtures[fixture]
		what := "cloudtrail:GetTrailStatus of " + name
		if !strings.HasPrefix(lastPart(name), canary.Marker+"-") {
			return left, p.fail(fmt.Errorf("the name of fixture %s does not begin with %q", fixture, canary.Marker+"-"), what)
		}
		bounded, cancel := p.bound(ctx)
		status, err := cloudtrail.NewFromConfig(p.cfg).GetTrailStatus(bounded, &cloudtrail.GetTrailStatusInput{Name: &name})
		cancel()
		if err != nil {
			return left, p.fail(err, what)
		}
		if status.IsLogging == nil {
			return left, p.fail(errors.New("the reply does not say whether it logs"), what)
		}
		if *status.IsLogging {
			continue
		}
		left = append(left, run.Leftover{ID: name, Undo: []canary.Call{{
			Operation: "cloudtrail:StartLogging", Region: p.scene.region, Params: map[string]any{"Name": name},
		}}})
	}
	return left, nil
}
