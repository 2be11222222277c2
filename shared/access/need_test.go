package access

import (
	"strings"
	"testing"
)

func TestLacks(t *testing.T) {
	const needed = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:CreateRole","iam:TagRole"],"Resource":"arn:aws:iam::111122223333:role/auditcanary/auditcanary-*","Condition":{"StringLike":{"aws:RequestTag/auditcanary-run":"*","iam:PermissionsBoundary":"arn:aws:iam::aws:policy/AWSDenyAll"}}}]}`
	grant := func(statements string) string { return `{"Version":"2012-10-17","Statement":[` + statements + `]}` }
	const all = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	for name, c := range map[string]struct {
		policy, boundary   string
		lacking, undecided string // what the first says; "": there is none
	}{
		"the very policy":                   {policy: needed},
		"everything":                        {policy: grant(all)},
		"by patterns":                       {policy: grant(`{"Effect":"Allow","Action":"iam:*Role","Resource":"arn:aws:iam::*:role/auditcanary/*"}`)},
		"one of its conditions":             {policy: grant(`{"Effect":"Allow","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::aws:policy/AWSDenyAll"}}}`)},
		"nothing":                           {policy: grant(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`), lacking: "no policy grants it"},
		"one action of two":                 {policy: grant(`{"Effect":"Allow","Action":"iam:CreateRole","Resource":"*"}`), lacking: "iam:TagRole on"},
		"another path":                      {policy: grant(`{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::111122223333:role/other/*"}`), lacking: "no policy grants it"},
		"another account":                   {policy: grant(`{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::444455556666:role/*"}`), lacking: "no policy grants it"},
		"a part of the resource":            {policy: grant(`{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::111122223333:role/auditcanary/auditcanary-1*"}`), undecided: "covers a part"},
		"under another condition":           {policy: grant(`{"Effect":"Allow","Action":"iam:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}`), undecided: "aws:SourceIp"},
		"under a narrower condition":        {policy: grant(`{"Effect":"Allow","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/auditcanary-run":"*"}}}`), undecided: "aws:RequestTag"},
		"denied":                            {policy: grant(all + `,{"Effect":"Deny","Action":"iam:CreateRole","Resource":"*"}`), lacking: "denied by"},
		"denied in part":                    {policy: grant(all + `,{"Effect":"Deny","Action":"iam:CreateRole","Resource":"*/auditcanary-prod"}`), undecided: "a Deny in"},
		"denied elsewhere":                  {policy: grant(all + `,{"Effect":"Deny","Action":"iam:*","NotResource":"arn:aws:iam::*:role/auditcanary/*"}`)},
		"denied without the boundary":       {policy: grant(all + `,{"Effect":"Deny","Action":"iam:CreateRole","Resource":"*","Condition":{"StringNotEquals":{"iam:PermissionsBoundary":"arn:aws:iam::aws:policy/AWSDenyAll"}}}`)},
		"denied without a boundary like it": {policy: grant(all + `,{"Effect":"Deny","Action":"iam:CreateRole","Resource":"*","Condition":{"StringNotLike":{"iam:PermissionsBoundary":"arn:aws:iam::aws:policy/AWSDeny*"}}}`)},
		"denied for another value":          {policy: grant(all + `,{"Effect":"Deny","Action":"iam:CreateRole","Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"arn:aws:iam::aws:policy/Other"}}}`)},
		"denied but for one value":          {policy: grant(all + `,{"Effect":"Deny","Action":"iam:CreateRole","Resource":"*","Condition":{"StringNotEquals":{"aws:RequestTag/auditcanary-run":"x"}}}`), undecided: "a Deny in"},
		"bounded":                           {policy: needed, boundary: grant(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`), lacking: "boundary does not grant"},
		"bounded widely":                    {policy: needed, boundary: grant(all)},
		"unreadable":                        {policy: `{"Statement":`, undecided: "could not be read"},
		"with what nobody knows":            {policy: grant(`{"Effect":"Allow","Action":"*","Resource":"*","Where":"here"}`), undecided: "covers a part"},
		"by a variable":                     {policy: grant(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:iam::${aws:PrincipalAccount}:role/*"}`), undecided: "covers a part"},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := ParseDocument([]byte(needed))
			if err != nil {
				t.Fatal(err)
			}
			p := &Principal{Policies: []Policy{NewPolicy("inline policy", "it", []byte(c.policy))}}
			if c.boundary != "" {
				b := NewPolicy("permissions boundary", "bound", []byte(c.boundary))
				p.Boundary = &b
			}
			lacking, undecided := p.Lacks(doc)
			for _, side := range []struct {
				what, want string
				got        []Need
			}{{"lacking", c.lacking, lacking}, {"undecided", c.undecided, undecided}} {
				if (side.want == "") != (len(side.got) == 0) || side.want != "" && !strings.Contains(side.got[0].String(), side.want) {
					t.Errorf("%s %v, want %q", side.what, side.got, side.want)
				}
			}
		})
	}
}
