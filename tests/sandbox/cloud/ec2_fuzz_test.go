package cloud

import (
	"net/http/httptest"
	"testing"
	"time"
)

// Whatever somebody signs, EC2 answers it and it can be recorded, also in a region
// that is not in use; nothing panics.
func FuzzNetwork(f *testing.F) {
	fixtures := Fixtures(TargetAccounts()[0], "us-east-1")
	f.Add("us-east-1", "Action=CreateNetworkAcl&VpcId="+fixtures["vpc"]+"&TagSpecification.1.ResourceType=network-acl&TagSpecification.1.Tag.1.Key=a&TagSpecification.2=x")
	f.Add("us-east-1", "Action=CreateNetworkAclEntry&NetworkAclId.1=x&RuleNumber=1e9&Egress=maybe&IcmpTypeCode=x&PortRange.From=a")
	f.Add("nowhere", "Action=CreateInternetGateway&TagSpecification.1.Tag=x")
	f.Add("nowhere", "Action=ImportKeyPair&KeyName=k&PublicKeyMaterial=c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSU11czJJNFhoZmtTNnpjdG1qM2w1UGlWTGVqd3NNT2xZYzJkRFdhOFB2OTY=")
	f.Add("us-east-1", "Action=CreateFlowLogs&ResourceId.1="+fixtures["vpc"]+"&ResourceId.2.a=b&ResourceType=VPC&TrafficType=ALL&LogGroupName=g&DeliverLogsPermissionArn=arn")
	f.Add("us-east-1", "Action=DeleteFlowLogs&FlowLogId.1.a=b&DryRun=maybe")
	f.Add("us-east-1", "Action=ModifySnapshotAttribute&SnapshotId="+fixtures["snapshot"]+"&CreateVolumePermission.Add.1=x&CreateVolumePermission.Remove.1.UserId.1=y")
	f.Add("us-east-1", "Action=DescribeRouteTables&Filter.1=x&RouteTableId=y&MaxResults=-1&NextToken=9")
	f.Add("us-east-1", "Action=AuthorizeSecurityGroupEgress&GroupId="+fixtures["security_group"]+"&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.IpRanges.1=x&SecurityGroupRuleId=y")
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	c, err := New(Options{Clock: stopped{now}, Sink: nowhere{}, World: World(stopped{now})})
	if err != nil {
		f.Fatal(err)
	}
	svc := ec2Service()
	f.Fuzz(func(t *testing.T, region, body string) {
		operation, params, err := decodeForm([]byte(body))
		op, known := svc.ops[operation]
		if err != nil || !known {
			return
		}
		k := &call{cloud: c, op: op, svc: svc, Request: Request{
			HTTP: httptest.NewRequest("POST", "/", nil), Service: "ec2", Operation: operation, Region: region, RequestID: "r", Time: now, Params: params,
			Principal: Principal{Account: TargetAccounts()[0], Type: "Root", ARN: "arn:aws:iam::111122223333:root"},
		}}
		rep, err := c.act(k)
		aerr := asAPIError(err)
		if aerr != nil && aerr.status >= 500 {
			t.Errorf("%s: %v", body, err)
			return
		}
		plain(k.record(rep, aerr))
		if aerr == nil {
			svc.wire.reply(httptest.NewRecorder(), k, rep)
		}
	})
}
