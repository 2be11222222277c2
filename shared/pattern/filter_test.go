package pattern

import (
	"errors"
	"strings"
	"testing"
)

func filter(t testing.TB, text string) *Filter {
	t.Helper()
	f, err := ParseFilter(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return f
}

// The events of CloudWatch Logs' own documentation, in one.
const logEvent = `{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],
 "objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"ThisFlag":true,"OtherFlag":false,
 "user":{"id":1,"email":"John.Stiles@example.com"},"users":[{"id":2,"email":"John.Doe@example.com"},{"id":3,"email":"Jane.Doe@example.com"}],
 "actions":["GET","PUT","DELETE"],"coordinates":[[0,1,2],[4,5,6],[7,8,9]],"latency":1200.5,"errorCode":400,"account":"123456789012",
 "dotted.name":"x","quote":"say \"hi\"","inner":"Ev*ent","wide":"Evxent"}`

func TestFiltersMatchAsDocumented(t *testing.T) {
	event := doc(t, logEvent)
	for _, tc := range []struct {
		filter string
		want   Truth
	}{
		{``, Yes},
		{`{ $.eventType = "UpdateTrail" }`, Yes},
		{`{$.eventType=UpdateTrail}`, Yes},
		{`{ $.eventType = "updatetrail" }`, No},
		{`{ $.eventType != "UpdateTrail" }`, No},
		{`{ $.eventType != "x" }`, Yes},
		{`{ $.sourceIPAddress != 123.123.* }`, Yes},
		{`{ $.sourceIPAddress != 111.111.* }`, No},
		{`{ $.eventType = *Trail }`, Yes},
		{`{ $.eventType = "*dateT*" }`, Yes},
		{`{ $.eventType = * }`, Yes},
		{`{ $.arrayKey[0] = "value" }`, Yes},
		{`{ $.arrayKey[2] = "value" }`, No},
		{`{ $.eventType[0] = "value" }`, No},
		{`{ $.objectList[1].id = 2 }`, Yes},
		{`{ $.objectList[1].id = 3 }`, No},
		{`{ $.objectList[1].missing = 2 }`, No},
		{`{ $.SomeObject IS NULL }`, Yes},
		{`{ $.eventType IS NULL }`, No},
		{`{ $.missing IS NULL }`, No},
		{`{ $.SomeOtherObject NOT EXISTS }`, Yes},
		{`{ $.eventType NOT EXISTS }`, No},
		{`{ $.eventType EXISTS }`, Yes},
		{`{ $.missing EXISTS }`, No},
		{`{ $.ThisFlag IS TRUE }`, Yes},
		{`{ $.ThisFlag IS FALSE }`, No},
		{`{ $.OtherFlag IS FALSE }`, Yes},
		{`{ $.missing IS FALSE }`, No},
		{`{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }`, Yes},
		{`{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }`, No},
		{`{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nomatch }`, Yes},
		{`{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nomatch }`, No},
		{`{ $.users = 1 }`, No},
		{`{ $.users != 1 }`, No},
		{`{ $.user != 1 }`, No},
		{`{ $.latency >= 500 }`, Yes},
		{`{ $.latency < 10e3 }`, Yes},
		{`{ $.latency <= 55.5 }`, No},
		{`{ $.errorCode = 400 }`, Yes},
		{`{ $.errorCode != 500 }`, Yes},
		{`{ $.latency > +1000 }`, Yes},
		{`{ $.eventType > 5 }`, No},
		{`{ $.eventType = %Trail% }`, Yes},
		{`{ $.eventType = %^Trail% }`, No},
		{`{ $.eventType != %^Update% }`, No},
		{`{ $.['dotted.name'] = x }`, Yes},
		{`{ $["dotted.name"] = x }`, Yes},
		{`{ $.quote = "say \"hi\"" }`, Yes},
		{"{\n  ($.eventType = UpdateTrail) &&\n\t($.ThisFlag is true)\n}", Yes},
		{`{ $.inner = Ev*ent }`, Yes},

		// What the documentation leaves open.
		{`{ $.wide = Ev*ent }`, Undecided},
		{`{ $.missing != "x" }`, Undecided},
		{`{ $.missing != "x" && $.eventType = nomatch }`, No},
		{`{ $.users = 1 || $.eventType = UpdateTrail }`, Yes},
		{`{ $.users = 1 || $.eventType = nomatch }`, Undecided},
		{`{ $.account = 123456789012 }`, Undecided},
		{`{ $.account = "123456789012" }`, Yes},
		{`{ $.ThisFlag = true }`, Undecided},
		{`{ $.ThisFlag = "no" }`, No},
		{`{ $.SomeObject != "x" }`, Undecided},
		{`{ $.errorCode = "400" }`, Undecided},
		{`{ $.users[*].id = 2 }`, Undecided},
		{`{ $.eventType = %(Update|Delete)Trail% }`, Undecided},
		{`{ $.eventType = %a{9,1}% }`, Undecided},
		{`[ip, user, status = 4*]`, Undecided},

		{`UpdateTrail`, Yes},
		{`UpdateTrail "another value"`, Yes},
		{`UpdateTrail DeleteTrail`, Undecided},
		{`-UpdateTrail`, No},
		{`-Nothing`, Undecided},
		{`?Nothing ?UpdateTrail`, Yes},
		{`?Nothing ?Neither`, Undecided},
		{`%Update% UpdateTrail`, Undecided},
	} {
		if got := filter(t, tc.filter).Match(event); got.Truth != tc.want {
			t.Errorf("%s: %+v, want %s", tc.filter, got, tc.want)
		} else if (got.Truth == Yes) != (got.Reason == "") {
			t.Errorf("%s: %s with reason %q", tc.filter, got.Truth, got.Reason)
		}
	}
}

func TestFiltersOfWhatIsNotKnown(t *testing.T) {
	event := Open{
		"eventName": "CreateRole", "errorCode": OneOf{"AccessDenied", "AccessDeniedException"}, "maybe": OneOf{Absent{}, "x"},
		"userIdentity": Open{"type": "AssumedRole", "arn": Text{Prefix: "arn:aws:sts::1:assumed-role/injector/auditcanary-"}, "invokedBy": Absent{}},
		"id":           Text{}, "requestParameters": Unknown{},
	}
	for _, tc := range []struct {
		filter string
		want   Truth
	}{
		{`{ $.errorCode = "AccessDenied*" }`, Yes},
		{`{ $.errorCode = "AccessDenied" }`, Undecided},
		{`{ $.errorCode != "Throttling" }`, Yes},
		{`{ $.errorCode NOT EXISTS }`, No},
		{`{ $.maybe NOT EXISTS }`, Undecided},
		{`{ $.maybe = "y" }`, No},
		{`{ $.userIdentity.arn = "*auditcanary-*" }`, Yes},
		{`{ $.userIdentity.arn != "*auditcanary-*" }`, No},
		{`{ $.userIdentity.arn = "arn:aws:sts::2*" }`, No},
		{`{ $.userIdentity.arn = "*-01" }`, Undecided},
		{`{ $.userIdentity.arn = %auditcanary% }`, Undecided},
		{`{ $.userIdentity.invokedBy NOT EXISTS }`, Yes},
		{`{ $.userIdentity.principalId EXISTS }`, Undecided},
		{`{ $.requestParameters.name = "x" }`, Undecided},
		{`{ $.requestParameters.name = "x" && $.eventName = "Other" }`, No},
		{`{ $.requestParameters.name = "x" || $.eventName = "CreateRole" }`, Yes},
		{`{ $.id = "x" }`, Undecided},
		{`{ $.id = * }`, Yes},
		{`{ $.id IS NULL }`, No},
		{`{ $.vpcEndpointId NOT EXISTS }`, Undecided},
		{`CreateRole`, Yes},
		{`auditcanary`, Yes},
		{`AccessDenied`, Undecided},
	} {
		if got := filter(t, tc.filter).Match(event); got.Truth != tc.want {
			t.Errorf("%s: %+v, want %s", tc.filter, got, tc.want)
		}
	}
}

// The patterns of the CIS AWS Foundations Benchmark's section on monitoring, as the
// benchmark and the provider's own conformance packs print them.
var cis = map[string]string{
	"unauthorized API calls":  `{ ($.errorCode = "*UnauthorizedOperation") || ($.errorCode = "AccessDenied*") }`,
	"unauthorized, since 1.4": `{ ($.errorCode ="*UnauthorizedOperation") || ($.errorCode ="AccessDenied*") && ($.sourceIPAddress!="delivery.logs.amazonaws.com") && ($.eventName!="HeadBucket") }`,
	"sign-in without MFA":     `{ ($.eventName = "ConsoleLogin") && ($.additionalEventData.MFAUsed != "Yes") }`,
	"root":                    `{ $.userIdentity.type = "Root" && $.userIdentity.invokedBy NOT EXISTS && $.eventType != "AwsServiceEvent" }`,
	"IAM policies":            `{($.eventName=DeleteGroupPolicy)||($.eventName=DeleteRolePolicy)||($.eventName=DeleteUserPolicy)||($.eventName=PutGroupPolicy)||($.eventName=PutRolePolicy)||($.eventName=PutUserPolicy)||($.eventName=CreatePolicy)||($.eventName=DeletePolicy)||($.eventName=CreatePolicyVersion)||($.eventName=DeletePolicyVersion)||($.eventName=AttachRolePolicy)||($.eventName=DetachRolePolicy)||($.eventName=AttachUserPolicy)||($.eventName=DetachUserPolicy)||($.eventName=AttachGroupPolicy)||($.eventName=DetachGroupPolicy)}`,
	"CloudTrail":              `{ ($.eventName = CreateTrail) || ($.eventName = UpdateTrail) || ($.eventName = DeleteTrail) || ($.eventName = StartLogging) || ($.eventName = StopLogging) }`,
	"sign-in failures":        `{ ($.eventName = ConsoleLogin) && ($.errorMessage = "Failed authentication") }`,
	"keys":                    `{($.eventSource = kms.amazonaws.com) && (($.eventName=DisableKey)||($.eventName=ScheduleKeyDeletion)) }`,
	"bucket policies":         `{ ($.eventSource = s3.amazonaws.com) && (($.eventName = PutBucketAcl) || ($.eventName = PutBucketPolicy) || ($.eventName = PutBucketCors) || ($.eventName = PutBucketLifecycle) || ($.eventName = PutBucketReplication) || ($.eventName = DeleteBucketPolicy) || ($.eventName = DeleteBucketCors) || ($.eventName = DeleteBucketLifecycle) || ($.eventName = DeleteBucketReplication)) }`,
	"Config":                  `{ ($.eventSource = config.amazonaws.com) && (($.eventName=StopConfigurationRecorder)||($.eventName=DeleteDeliveryChannel)||($.eventName=PutDeliveryChannel)||($.eventName=PutConfigurationRecorder)) }`,
	"security groups":         `{ ($.eventName = AuthorizeSecurityGroupIngress) || ($.eventName = AuthorizeSecurityGroupEgress) || ($.eventName = RevokeSecurityGroupIngress) || ($.eventName = RevokeSecurityGroupEgress) || ($.eventName = CreateSecurityGroup) || ($.eventName = DeleteSecurityGroup) }`,
	"network ACLs":            `{ ($.eventName = CreateNetworkAcl) || ($.eventName = CreateNetworkAclEntry) || ($.eventName = DeleteNetworkAcl) || ($.eventName = DeleteNetworkAclEntry) || ($.eventName = ReplaceNetworkAclEntry) || ($.eventName = ReplaceNetworkAclAssociation) }`,
	"gateways":                `{ ($.eventName = CreateCustomerGateway) || ($.eventName = DeleteCustomerGateway) || ($.eventName = AttachInternetGateway) || ($.eventName = CreateInternetGateway) || ($.eventName = DeleteInternetGateway) || ($.eventName = DetachInternetGateway) }`,
	"route tables":            `{ ($.eventSource = ec2.amazonaws.com) && (($.eventName = CreateRoute) || ($.eventName = CreateRouteTable) || ($.eventName = ReplaceRoute) || ($.eventName = ReplaceRouteTableAssociation) || ($.eventName = DeleteRouteTable) || ($.eventName = DeleteRoute) || ($.eventName = DisassociateRouteTable)) }`,
	"VPCs":                    `{ ($.eventName = CreateVpc) || ($.eventName = DeleteVpc) || ($.eventName = ModifyVpcAttribute) || ($.eventName = AcceptVpcPeeringConnection) || ($.eventName = CreateVpcPeeringConnection) || ($.eventName = DeleteVpcPeeringConnection) || ($.eventName = RejectVpcPeeringConnection) || ($.eventName = AttachClassicLinkVpc) || ($.eventName = DetachClassicLinkVpc) || ($.eventName = DisableVpcClassicLink) || ($.eventName = EnableVpcClassicLink) }`,
	"Organizations":           `{ ($.eventSource = organizations.amazonaws.com) && (($.eventName = "AcceptHandshake") || ($.eventName = "AttachPolicy") || ($.eventName = "CreatePolicy") || ($.eventName = "DeletePolicy") || ($.eventName = "DetachPolicy") || ($.eventName = "UpdatePolicy")) }`,
}

func TestTheBenchmarksFilters(t *testing.T) {
	call := func(source, name string, more ...string) string {
		return `{"eventSource":"` + source + `.amazonaws.com","eventName":"` + name + `","eventType":"AwsApiCall","sourceIPAddress":"192.0.2.1","userIdentity":{"type":"AssumedRole"}` + strings.Join(more, "") + `}`
	}
	refused := `,"errorCode":"AccessDenied"`
	for _, tc := range []struct{ event, takes string }{ // takes: the names of the filters that do, sorted
		{call("iam", "PutRolePolicy"), "IAM policies"},
		{call("iam", "CreateRole"), ""},
		{call("iam", "CreatePolicy"), "IAM policies"},
		{call("organizations", "CreatePolicy"), "IAM policies, Organizations"},
		{call("cloudtrail", "StopLogging"), "CloudTrail"},
		{call("cloudtrail", "StopLogging", refused), "CloudTrail, unauthorized API calls, unauthorized, since 1.4"},
		{call("cloudtrail", "PutEventSelectors"), ""},
		{call("kms", "DisableKey"), "keys"},
		{call("dynamodb", "DisableKey"), ""},
		{call("s3", "PutBucketLifecycle"), "bucket policies"},
		{call("s3", "HeadBucket", refused), "unauthorized API calls"},
		{call("config", "StopConfigurationRecorder"), "Config"},
		{call("ec2", "AuthorizeSecurityGroupIngress"), "security groups"},
		{call("ec2", "CreateNetworkAcl"), "network ACLs"},
		{call("ec2", "CreateInternetGateway"), "gateways"},
		{call("ec2", "CreateRouteTable"), "route tables"},
		{call("ec2", "ModifyVpcAttribute", `,"errorCode":"Client.UnauthorizedOperation"`), "VPCs, unauthorized API calls, unauthorized, since 1.4"},
		{call("signin", "ConsoleLogin", `,"additionalEventData":{"MFAUsed":"No"}`), "sign-in without MFA"},
		{call("signin", "ConsoleLogin", `,"additionalEventData":{"MFAUsed":"Yes"}`), ""},
		{call("signin", "ConsoleLogin", `,"errorMessage":"Failed authentication","additionalEventData":{"MFAUsed":"Yes"}`), "sign-in failures"},
		{`{"eventSource":"iam.amazonaws.com","eventName":"GetUser","eventType":"AwsApiCall","userIdentity":{"type":"Root"}}`, "root"},
		{`{"eventSource":"iam.amazonaws.com","eventName":"GetUser","eventType":"AwsServiceEvent","userIdentity":{"type":"Root"}}`, ""},
	} {
		var takes []string
		for _, name := range []string{"CloudTrail", "Config", "IAM policies", "Organizations", "VPCs", "bucket policies", "gateways", "keys", "network ACLs", "root", "route tables", "security groups", "sign-in failures", "sign-in without MFA", "unauthorized API calls", "unauthorized, since 1.4"} {
			got := filter(t, cis[name]).Match(doc(t, tc.event))
			if got.Truth == Yes {
				takes = append(takes, name)
			}
			if got.Truth == Undecided {
				t.Errorf("%s of %s: %s", name, tc.event, got.Reason)
			}
		}
		if s := strings.Join(takes, ", "); s != tc.takes {
			t.Errorf("%s is taken by %q, want %q", tc.event, s, tc.takes)
		}
	}
}

func TestTheReasonOfAFilterNamesTheComparison(t *testing.T) {
	event := Open{"eventName": "CreateRole", "requestParameters": Unknown{}}
	for text, want := range map[string]string{
		`{ ($.eventName = "X") && ($.a = 1) }`:     `$.eventName is "CreateRole", and the pattern wants $.eventName = "X"`,
		`{ $.eventName = "X" || $.eventName = Y }`: `$.eventName is "CreateRole", and the pattern wants $.eventName = "X"; $.eventName is "CreateRole", and the pattern wants $.eventName = Y`,
		`{ $.requestParameters.name = "X" }`:       `$.requestParameters.name is not known, and the pattern wants $.requestParameters.name = "X"`,
		`{ $.eventName.x != "X" }`:                 `$.eventName.x is not there, and the pattern wants $.eventName.x != "X": whether != holds for a field that is not there is not documented`,
		`nothing`:                                  `the pattern wants that the term "nothing" is in the record`,
	} {
		if got := filter(t, text).Match(event); got.Reason != want {
			t.Errorf("%s:\n got %q\nwant %q", text, got.Reason, want)
		}
	}
}

func TestMalformedFiltersSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		"{ $.a = 1":                          "line 1, column 10: expected &&, || or }, found the end of the pattern",
		"{ ($.a = 1 }":                       "line 1, column 12: expected &&, || or ), found '}'",
		"{\n  $.a ? 1 }":                     "line 2, column 7: expected a comparison after $.a, found '?'",
		"{ a = 1 }":                          "line 1, column 3: expected $. and the name of a field, found 'a'",
		"{ $ = 1 }":                          "expected $. and the name of a field",
		"{ $. = 1 }":                         "expected the name of a field after the dot",
		"{ $.a[x] = 1 }":                     "expected a number between [ and ]",
		"{ $.a[99999999999999999999] = 1 }":  "expected a number between [ and ]",
		"{ $.a[1 = 1 }":                      "expected ]",
		"{ $.a = }":                          "expected a value after =",
		`{ $.a = "x }`:                       "line 1, column 9: the text is not closed",
		`{ $.a = %x }`:                       "the regular expression is not closed",
		`{ $.a = %% }`:                       "the regular expression is empty",
		`{ $.a > "x" }`:                      "> compares numbers, not text",
		`{ $.a > x }`:                        `> compares numbers, and "x" is none`,
		`{ $.a IS MAYBE }`:                   "expected NULL, TRUE or FALSE after IS",
		`{ $.a NOT THERE }`:                  "expected EXISTS after NOT",
		`{ $.a LIKE x }`:                     `"LIKE" after $.a is no comparison`,
		`{ $.a = 1 } x`:                      "more after the closing }",
		`{ $.a = 1 && }`:                     "expected $. and the name of a field, found '}'",
		`{ $.ä = 1 §`:                        "line 1, column 11:",
		`"x`:                                 "the text is not closed",
		`a -`:                                "expected a term",
		"{" + strings.Repeat("(", 200):       "nested more than 100 levels deep",
		strings.Repeat("a", maxFilter+1):     "more than the",
		"{ $" + strings.Repeat(".a", 200):    "more than 100 steps",
		"{ $.a = 1" + strings.Repeat(")", 3): "found ')'",
	} {
		_, err := ParseFilter(text)
		var at *SyntaxError
		if !errors.As(err, &at) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q in it", text, err, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range cis {
		f.Add(s, logEvent)
	}
	for _, s := range []string{`{ $.a[0]["b"].c IS NULL && ($.d NOT EXISTS || $.e = %x.*y%) }`, `?a -b "c d"`, `[a, b]`, `{ $.a = 1e999 }`, "{\xff", `{ $.a = "\\" }`} {
		f.Add(s, logEvent)
	}
	f.Fuzz(func(t *testing.T, text, event string) {
		p, err := ParseFilter(text)
		if err != nil {
			var at *SyntaxError
			if !errors.As(err, &at) || at.Line < 1 || at.Column < 1 {
				t.Fatalf("%#v", err)
			}
			return
		}
		if got := p.Match(Unknown{}); got.Truth == No || got.Truth == Yes && p.expr != nil {
			t.Fatalf("%s of what is not known: %+v", text, got)
		}
		if v, err := Decode([]byte(event)); err == nil {
			if got := p.Match(v); (got.Truth == Yes) != (got.Reason == "") {
				t.Fatalf("%+v", got)
			}
		}
	})
}
