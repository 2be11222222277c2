package pattern

import "testing"

func TestCriteriaTakeFindingsAsDocumented(t *testing.T) {
	finding := Open{"type": "Stealth:IAMUser/CloudTrailLoggingDisabled", "accountId": "111122223333", "severity": 2.0, "flag": false,
		"service": Open{"archived": false}, "resource": Open{"accessKeyDetails": Open{"userName": "injector", "principalId": Text{}}}, "list": []any{"x"}}
	n := func(i int64) *int64 { return &i }
	for name, tc := range map[string]struct {
		c    Criteria
		want Truth
	}{
		"the type":                {Criteria{"type": {Equals: []string{"X", "Stealth:IAMUser/CloudTrailLoggingDisabled"}}}, Yes},
		"another type":            {Criteria{"type": {Equals: []string{"X"}}}, No},
		"not archived":            {Criteria{"type": {Matches: []string{"Stealth:*"}}, "service.archived": {Equals: []string{"false"}}}, Yes},
		"archived":                {Criteria{"service.archived": {Equals: []string{"true"}}}, No},
		"not this one":            {Criteria{"type": {NotEquals: []string{"Stealth:IAMUser/CloudTrailLoggingDisabled"}}}, No},
		"not another":             {Criteria{"type": {NotEquals: []string{"X", "Y"}}}, Yes},
		"a wildcard":              {Criteria{"type": {Matches: []string{"*LoggingDisabled"}}}, Yes},
		"another wildcard":        {Criteria{"type": {Matches: []string{"*Policy*"}}}, No},
		"no wildcard":             {Criteria{"type": {NotMatches: []string{"Stealth:*"}}}, No},
		"a question mark":         {Criteria{"type": {Matches: []string{"Stealth?*"}}}, Undecided},
		"severity":                {Criteria{"severity": {GreaterOrEqual: n(2), Less: n(4)}}, Yes},
		"a higher severity":       {Criteria{"severity": {Greater: n(2)}}, No},
		"a lower severity":        {Criteria{"severity": {LessOrEqual: n(1)}}, No},
		"the severity as text":    {Criteria{"severity": {Equals: []string{"2"}}}, Yes},
		"a number of a text":      {Criteria{"accountId": {Greater: n(2)}}, Undecided},
		"not known":               {Criteria{"resource.accessKeyDetails.principalId": {Equals: []string{"AROA"}}}, Undecided},
		"not mentioned":           {Criteria{"region": {Equals: []string{"eu-west-1"}}}, Undecided},
		"one no is enough":        {Criteria{"region": {Equals: []string{"eu-west-1"}}, "type": {Equals: []string{"X"}}}, No},
		"nothing":                 {Criteria{}, Undecided},
		"nothing of an attribute": {Criteria{"type": {}}, Undecided},
		"a list":                  {Criteria{"list": {Equals: []string{"x"}}}, Undecided},
	} {
		got := tc.c.Match(finding)
		if got.Truth != tc.want || (got.Truth == Yes) != (got.Reason == "") {
			t.Errorf("%s: %+v, want %s", name, got, tc.want)
		}
	}
	const want = `type is "Stealth:IAMUser/CloudTrailLoggingDisabled", and the filter takes any of ["X"]`
	if got := (Criteria{"type": {Equals: []string{"X"}}}).Match(finding); got.Reason != want || got.Field != "type" {
		t.Errorf("%+v", got)
	}
}
