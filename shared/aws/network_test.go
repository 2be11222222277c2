package aws

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/auditcanary/auditcanary/scenarios"
	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/aws/aws-sdk-go-v2/aws"
)

// The public key that the canary imports is a point nobody chose: the hash of a
// sentence, with the first number for which the curve has such a point. Whoever knew
// the private half would have solved the discrete logarithm.
func TestNobodyHasTheKey(t *testing.T) {
	var point []byte
	for n := 0; point == nil; n++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "auditcanary: nobody has the private half of this key (%d)", n))
		if onCurve25519(sum[:]) {
			point = sum[:]
		}
	}
	blob := slices.Concat([]byte{0, 0, 0, 11}, []byte("ssh-ed25519"), []byte{0, 0, 0, 32}, point)
	line := "ssh-ed25519 " + base64.StdEncoding.EncodeToString(blob)
	if got := base64.StdEncoding.EncodeToString([]byte(line)); got != nobodysKey {
		t.Errorf("the key is %q, want %s in base64 (%s)", nobodysKey, line, got)
	}
}

// onCurve25519 says whether 32 bytes encode a point (RFC 8032, 5.1.3): whether
// x^2 = (y^2-1)/(dy^2+1) has a root.
func onCurve25519(encoded []byte) bool {
	little := slices.Clone(encoded)
	little[31] &= 0x7f
	slices.Reverse(little)
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	d := new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	y := new(big.Int).SetBytes(little)
	if y.Cmp(p) >= 0 {
		return false
	}
	y2 := new(big.Int).Mul(y, y)
	divisor := new(big.Int).Add(new(big.Int).Mul(d, y2), one)
	x2 := new(big.Int).Mul(y2.Sub(y2, one), divisor.ModInverse(divisor.Mod(divisor, p), p))
	return big.Jacobi(x2.Mod(x2, p), p) == 1
}

func TestPlanRefusesWhatIsNotHarmlessInTheNetwork(t *testing.T) {
	const (
		acl    = "aws/ec2-network-acl"
		table  = "aws/ec2-route-table"
		flow   = "aws/ec2-flow-logs"
		login  = "aws/ec2-key-pair"
		share  = "aws/ec2-snapshot-share-dry-run"
		remove = "aws/ec2-snapshot-delete-dry-run"
		out    = "aws/ec2-security-group-egress"
	)
	type step = canary.Step
	c := testCloud(t, aws.Config{})
	sharing := func(s *step) map[string]any { return s.Params["CreateVolumePermission"].(map[string]any) }
	for _, tt := range []struct {
		name, scenario string
		step           int
		breakIt        func(*step)
		want           string
	}{
		{"an ACL in somebody's VPC", acl, 0, func(s *step) { s.Params["VpcId"] = "vpc-0feedfacefeedface" }, `VpcId "vpc-0feedfacefeedface" is no configured fixture`},
		{"an ACL without tags", acl, 0, func(s *step) { delete(s.Params, "TagSpecifications") }, `the tags auditcanary:run=${run}`},
		{"an ACL that stays", acl, 0, func(s *step) { s.Undo, s.NoUndo = nil, "it does no harm to anybody" }, `ec2:CreateNetworkAcl has no undo: it must be undone by ec2:DeleteNetworkAcl`},
		{"an undo of another step's ACL", acl, 0, func(s *step) { s.Undo.Params["NetworkAclId"] = "${steps.deny.NetworkAclId}" }, `it must be what the call it must undo replied, ${steps.create.<path>}`},
		{"an undo of somebody's ACL", acl, 0, func(s *step) { s.Undo.Params["NetworkAclId"] = "acl-0123456789abcdef0" }, `it must be what the call it must undo replied, ${steps.create.<path>}`},
		{"a rule in somebody's ACL", acl, 1, func(s *step) { s.Params["NetworkAclId"] = "default" }, `NetworkAclId "default" must be the id that the reply of an earlier step gave`},
		{"a rule that lets in", acl, 1, func(s *step) { s.Params["RuleAction"] = "allow" }, `RuleAction must be deny, not allow`},
		{"a rule against everybody", acl, 1, func(s *step) { s.Params["CidrBlock"] = "0.0.0.0/0" }, `CidrBlock "0.0.0.0/0" is not a documentation network`},
		{"a rule against everybody's IPv6", acl, 1, func(s *step) { s.Params["Ipv6CidrBlock"] = "::/0" }, `Ipv6CidrBlock "::/0" is not a documentation network`},
		{"a route table in somebody's VPC", table, 0, func(s *step) { s.Params["VpcId"] = "vpc-0feedfacefeedface" }, `is no configured fixture`},
		{"a way out to everybody", out, 0, func(s *step) { cidr(s)["CidrIp"] = "0.0.0.0/0" }, `CidrIp "0.0.0.0/0" is not a documentation network`},
		{"somebody's security group", out, 0, func(s *step) { s.Params["GroupId"] = "sg-0feedfacefeedface" }, `is no configured fixture`},
		{"an egress rule closed as if it were ingress", out, 0, func(s *step) { s.Undo.Call = "ec2:RevokeSecurityGroupIngress" }, `ec2:RevokeSecurityGroupIngress is not proven to undo ec2:AuthorizeSecurityGroupEgress`},

		{"a flow log of somebody's VPC", flow, 0, func(s *step) { s.Params["ResourceIds"] = []any{"${fixture.vpc}", "vpc-0feedfacefeedface"} }, `ResourceIds "vpc-0feedfacefeedface" is no configured fixture`},
		{"a flow log of nothing", flow, 0, func(s *step) { s.Params["ResourceIds"] = []any{} }, `ResourceIds is empty`},
		{"a flow log into a bucket", flow, 0, func(s *step) { s.Params["LogDestination"] = "arn:aws:s3:::x" }, `LogDestination must not be given`},
		{"a flow log into another account", flow, 0, func(s *step) { s.Params["DeliverCrossAccountRole"] = "arn:aws:iam::999999999999:role/x" }, `DeliverCrossAccountRole must not be given`},
		{"a flow log into somebody's log group", flow, 0, func(s *step) { s.Params["LogGroupName"] = "/production" }, `LogGroupName "/production" is not canary-marked`},
		{"a flow log by somebody's role", flow, 0, func(s *step) { s.Params["DeliverLogsPermissionArn"] = "arn:aws:iam::111122223333:role/admin" }, `DeliverLogsPermissionArn "arn:aws:iam::111122223333:role/admin" is no configured fixture`},
		{"a flow log of a subnet", flow, 0, func(s *step) { s.Params["ResourceType"] = "Subnet" }, `ResourceType must be VPC, not Subnet`},
		{"an undo of somebody's flow log", flow, 0, func(s *step) { s.Undo.Params["FlowLogIds"] = []any{"fl-0123456789abcdef0"} }, `it must be what the call it must undo replied`},
		{"an undo of one flow log more", flow, 0, func(s *step) {
			s.Undo.Params["FlowLogIds"] = []any{"${steps.create.FlowLogIds.0}", "fl-0123456789abcdef0"}
		}, `it must be what the call it must undo replied`},
		{"an undo of flow logs by no id", flow, 0, func(s *step) { s.Undo.Params["FlowLogIds"] = []any{} }, `FlowLogIds is empty`},
		{"an undo of flow logs by what is no id", flow, 0, func(s *step) { s.Undo.Params["FlowLogIds"] = []any{"*"} }, `FlowLogIds "*" must be the id that the reply of an earlier step gave`},

		{"a key somebody has", login, 0, func(s *step) {
			s.Params["PublicKeyMaterial"] = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUdGaFlXRmhZV0ZoWVdGaFlXRmhZV0ZoWVdGaFlXRmhZV0ZoWVdGaFlXRmg="
		}, `PublicKeyMaterial must be ` + nobodysKey},
		{"a key under somebody's name", login, 0, func(s *step) { s.Params["KeyName"] = "admin" }, `KeyName "admin" is not canary-marked`},
		{"an undo of another key", login, 0, func(s *step) { s.Undo.Params["KeyPairId"] = "key-0123456789abcdef0" }, `KeyPairId must not be given`},

		{"a snapshot shared in earnest", share, 0, func(s *step) { delete(s.Params, "DryRun") }, `ec2:ModifySnapshotAttribute: DryRun must be true`},
		{"somebody's snapshot", share, 0, func(s *step) { s.Params["SnapshotId"] = "snap-0feedfacefeedface" }, `SnapshotId "snap-0feedfacefeedface" is no configured fixture`},
		{"a snapshot shared with a stranger", share, 0, func(s *step) { sharing(s)["Add"] = []any{map[string]any{"UserId": "999999999999"}} }, `CreateVolumePermission.Add must name the account itself`},
		{"a snapshot shared with everybody", share, 0, func(s *step) { sharing(s)["Add"] = []any{map[string]any{"Group": "all"}} }, `CreateVolumePermission.Add must name the account itself`},
		{"a snapshot shared with everybody too", share, 0, func(s *step) {
			sharing(s)["Add"] = []any{map[string]any{"UserId": "${account}", "Group": "all"}}
		}, `CreateVolumePermission.Add must name the account itself`},
		{"a snapshot shared by the older parameters", share, 0, func(s *step) { s.Params["UserIds"] = []any{"999999999999"} }, `UserIds must not be given`},
		{"a snapshot taken from somebody", share, 0, func(s *step) { sharing(s)["Remove"] = []any{map[string]any{"UserId": "1"}} }, `CreateVolumePermission must add one account, and do nothing else`},
		{"a snapshot deleted in earnest", remove, 0, func(s *step) { s.Params["DryRun"] = false }, `DryRun must be true, not false`},
		{"somebody's snapshot deleted", remove, 0, func(s *step) { s.Params["SnapshotId"] = "snap-0feedfacefeedface" }, `is no configured fixture`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := readScenario(t, tt.scenario)
			tt.breakIt(&s.Steps[tt.step])
			if _, err := c.Plan(s, testCanary("eu-west-1")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant ...%s...", err, tt.want)
			}
		})
	}
}

// readScenario reads one file of the catalogue, to be broken.
func readScenario(t *testing.T, id string) canary.Scenario {
	t.Helper()
	s, err := scenarios.ReadFile("../../scenarios/"+id+".yaml", check(CheckCall))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Whoever may tag anything may delete anything that only its tag protects.
func TestTagsMayBeSetOnlyWhileMaking(t *testing.T) {
	for name, op := range operations() {
		for _, g := range op.grants {
			if !slices.Contains(g.actions, "ec2:CreateTags") {
				continue
			}
			if _, operation, _ := strings.Cut(name, ":"); g.when[ec2CreateAction] != operation || g.when[requestTagRun] != "{run}" || len(g.actions) != 1 {
				t.Errorf("%s may set tags by %v", name, g)
			}
		}
	}
}

// ec2Listing is one kind of thing as its listing shows it.
type ec2Listing struct{ kind, operation, set, id, undo, param, prefix string }

var ec2Listings = []ec2Listing{
	{"ec2 network acl", "DescribeNetworkAcls", "networkAclSet", "networkAclId", "ec2:DeleteNetworkAcl", "NetworkAclId", "acl-"},
	{"ec2 route table", "DescribeRouteTables", "routeTableSet", "routeTableId", "ec2:DeleteRouteTable", "RouteTableId", "rtb-"},
	{"ec2 internet gateway", "DescribeInternetGateways", "internetGatewaySet", "internetGatewayId", "ec2:DeleteInternetGateway", "InternetGatewayId", "igw-"},
	{"ec2 flow log", "DescribeFlowLogs", "flowLogSet", "flowLogId", "ec2:DeleteFlowLogs", "FlowLogIds", "fl-"},
}

// page answers a listing of these ids with their tags ("k=v k=v").
func (l ec2Listing) page(next string, things ...[2]string) func(http.ResponseWriter, *called) {
	var b strings.Builder
	for _, thing := range things {
		fmt.Fprintf(&b, "<item><%[1]s>%[2]s</%[1]s><tagSet>", l.id, thing[0])
		for _, kv := range strings.Fields(thing[1]) {
			k, v, _ := strings.Cut(kv, "=")
			fmt.Fprintf(&b, "<item><key>%s</key><value>%s</value></item>", k, v)
		}
		b.WriteString("</tagSet></item>")
	}
	if next != "" {
		next = "<nextToken>" + next + "</nextToken>"
	}
	return text(fmt.Sprintf("<%[1]sResponse><%[2]s>%[3]s</%[2]s>%[4]s</%[1]sResponse>", l.operation, l.set, b.String(), next))
}

const mine = "auditcanary:run=20261122-abcdef auditcanary:canary=20261122-abcdef-03"

func TestLeftoversOfTheNetworkAreOnlyWhatCarriesTheTags(t *testing.T) {
	for _, l := range ec2Listings {
		t.Run(l.kind, func(t *testing.T) {
			w := newWire(t)
			w.answer["ec2:"+l.operation] = func(rw http.ResponseWriter, c *called) {
				if c.form.Get("NextToken") == "" {
					l.page("more", [2]string{"x-somebodys", "Name=web"}, [2]string{"x-half", "auditcanary:run=20261122-abcdef"},
						[2]string{"x-odd", "auditcanary:run=* auditcanary:canary=*"}, [2]string{"x-fixture", mine + " auditcanary=fixture"})(rw, c)
					return
				}
				l.page("", [2]string{l.prefix + "mine", mine})(rw, c)
			}
			left, err := leftOf(t, w, l.kind, ireland)
			if err != nil || len(left) != 1 {
				t.Fatalf("%v, %v", left, err)
			}
			got, call := left[0], left[0].Undo[0]
			var id any = l.prefix + "mine"
			if l.param == "FlowLogIds" {
				id = []any{l.prefix + "mine"}
			}
			if got.ID != l.prefix+"mine" || got.Run != "20261122-abcdef" || got.Canary != "20261122-abcdef-03" ||
				call.Operation != l.undo || call.Region != "eu-west-1" || len(call.Gone) == 0 || !reflect.DeepEqual(call.Params, map[string]any{l.param: id}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestAKeyPairIsLeftOnlyUnderACanarysName(t *testing.T) {
	w := newWire(t)
	l := ec2Listing{operation: "DescribeKeyPairs", set: "keySet", id: "keyName"}
	w.answer["ec2:DescribeKeyPairs"] = l.page("", [2]string{"auditcanary-20261122-abcdef-03", mine}, [2]string{"alice", mine}, [2]string{"auditcanary-x", "Name=x"})
	left, err := leftOf(t, w, "ec2 key pair", ireland)
	if err != nil || len(left) != 1 || left[0].Undo[0].Params["KeyName"] != "auditcanary-20261122-abcdef-03" {
		t.Errorf("%+v, %v", left, err)
	}
}

func TestAnEgressRuleIsRevokedAsOne(t *testing.T) {
	w := newWire(t)
	w.answer["ec2:DescribeSecurityGroupRules"] = text(`<DescribeSecurityGroupRulesResponse><securityGroupRuleSet>` + rule("sgr-out", "sg-0123456789abcdef0", "true", mine) + `</securityGroupRuleSet></DescribeSecurityGroupRulesResponse>`)
	left, err := leftOf(t, w, "ec2 security group rule", ireland)
	if err != nil || len(left) != 1 || left[0].Undo[0].Operation != "ec2:RevokeSecurityGroupEgress" {
		t.Errorf("%+v, %v", left, err)
	}
}

func TestANetworkThatCannotBeListedIsAnError(t *testing.T) {
	for _, l := range append(ec2Listings, ec2Listing{kind: "ec2 key pair", operation: "DescribeKeyPairs"}) {
		w := newWire(t)
		w.answer["ec2:"+l.operation] = ec2Error(403, "UnauthorizedOperation", "no")
		_, err := leftOf(t, w, l.kind, ireland)
		if want := "ec2:" + l.operation + " in account 111122223333, eu-west-1"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ...%s...", err, want)
		}
	}
}

// What a sweep finds it must be allowed to undo, by the guards and by a session
// policy that asks for the run's tag.
func TestASweepMayUndoWhatTheNetworkLeaves(t *testing.T) {
	c := testCloud(t, aws.Config{})
	sw := &session{cloud: c, target: testTarget(), scene: testTarget().scene("eu-west-1", "*", canary.Marker), restoresOnly: true}
	for _, call := range []canary.Call{
		undoBy("ec2:DeleteNetworkAcl", "NetworkAclId", "acl-0123456789abcdef0"),
		undoBy("ec2:DeleteRouteTable", "RouteTableId", "rtb-0123456789abcdef0"),
		undoBy("ec2:DeleteInternetGateway", "InternetGatewayId", "igw-0123456789abcdef0"),
		undoBy("ec2:DeleteFlowLogs", "FlowLogIds", []any{"fl-0123456789abcdef0"}),
		undoBy("ec2:DeleteKeyPair", "KeyName", "auditcanary-20261122-abcdef-03"),
	} {
		call.Region = "eu-west-1"
		if _, _, err := sw.admit(call); err != nil {
			t.Errorf("%s: %v", call.Operation, err)
		}
		for _, st := range sw.scene.statements(call) {
			null := slices.Equal(st.Resource, words{"arn:aws:ec2:eu-west-1:111122223333:vpc-flow-log/" + noFlowLog})
			if !null && st.Condition["StringLike"][ofThisRun] != "*" {
				t.Errorf("%s may be called on %v without the tag", call.Operation, st.Resource)
			}
		}
	}
}

// EC2 answers 200 and says in the reply that it did not do it.
func TestAFlowLogThatWasNotMadeIsNoSuccess(t *testing.T) {
	const item = `<unsuccessful><item><error><code>%s</code><message>no</message></error><resourceId>x</resourceId></item></unsuccessful>`
	for name, tt := range map[string]struct {
		undo   bool
		answer string
		want   canary.Result
	}{
		"made":                {false, `<CreateFlowLogsResponse><flowLogIdSet><item>fl-0123456789abcdef0</item></flowLogIdSet><unsuccessful/></CreateFlowLogsResponse>`, canary.Succeeded},
		"not made":            {false, `<CreateFlowLogsResponse>` + fmt.Sprintf(item, "400") + `</CreateFlowLogsResponse>`, canary.Unknown},
		"not made, no reason": {false, `<CreateFlowLogsResponse><unsuccessful><item/></unsuccessful></CreateFlowLogsResponse>`, canary.Unknown},
		"deleted":             {true, `<DeleteFlowLogsResponse><unsuccessful/></DeleteFlowLogsResponse>`, canary.Succeeded},
		"not deleted":         {true, `<DeleteFlowLogsResponse>` + fmt.Sprintf(item, "InternalError") + `</DeleteFlowLogsResponse>`, canary.Unknown},
		"gone already":        {true, `<DeleteFlowLogsResponse>` + fmt.Sprintf(item, "InvalidFlowLogId.NotFound") + `</DeleteFlowLogsResponse>`, canary.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			w.answer["ec2:CreateFlowLogs"], w.answer["ec2:DeleteFlowLogs"] = text(tt.answer), text(tt.answer)
			c := testCloud(t, w.config())
			p := planOf(t, c, readScenario(t, "aws/ec2-flow-logs"))
			sess, err := c.Open(context.Background(), p)
			if err != nil {
				t.Fatal(err)
			}
			call := p.Steps[0].Call
			if tt.undo {
				call = *p.Steps[0].Undo
				call.Params = map[string]any{"FlowLogIds": []any{"fl-0123456789abcdef0"}}
			}
			r := sess.Do(context.Background(), call, []string{"FlowLogIds.0"})
			if r.Outcome.Result != tt.want || tt.want == canary.Unknown && !strings.Contains(r.Outcome.Message, "the reply says that it was not done") {
				t.Errorf("%+v", r.Outcome)
			}
			if made := r.Output["FlowLogIds.0"] != ""; made != (name == "made") {
				t.Errorf("output %v", r.Output)
			}
		})
	}
}
