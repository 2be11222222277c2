package cloud

func organizationsService() service {
	return service{
		source: "organizations.amazonaws.com", global: true, wire: json11{},
		ops: map[string]operation{
			"DescribeOrganization": {readOnly: true, needs: anyOf("organizations:DescribeOrganization"), do: describeOrganization},
		},
	}
}

func describeOrganization(k *call) (reply, error) {
	w := k.cloud.world
	arn := "arn:aws:organizations::" + w.Management
	return reply{body: map[string]any{"Organization": map[string]any{
		"Id": w.Organization, "Arn": arn + ":organization/" + w.Organization, "FeatureSet": "ALL",
		"MasterAccountId": w.Management, "MasterAccountArn": arn + ":account/" + w.Organization + "/" + w.Management,
		"MasterAccountEmail": "root@example.com",
	}}}, nil
}
