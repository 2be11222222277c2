package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// condition is one operator on one key.
type condition struct {
	op       string // lower case, without set prefix and IfExists
	set      string // "", "forallvalues", "foranyvalue"
	ifExists bool
	key      string // lower case
	values   []string
}

// The operators carried, and whether each is a negation: a negation holds for
// an absent key, all others do not.
var operators = map[string]struct {
	negated bool
	match   func(pattern, value string) bool
}{
	"stringequals":              {false, func(p, v string) bool { return p == v }},
	"stringnotequals":           {true, func(p, v string) bool { return p == v }},
	"stringequalsignorecase":    {false, strings.EqualFold},
	"stringnotequalsignorecase": {true, strings.EqualFold},
	"stringlike":                {false, wildcard},
	"stringnotlike":             {true, wildcard},
	"arnequals":                 {false, arnLike},
	"arnlike":                   {false, arnLike},
	"arnnotequals":              {true, arnLike},
	"arnnotlike":                {true, arnLike},
	"bool":                      {false, strings.EqualFold},
	"ipaddress":                 {false, inPrefix},
	"notipaddress":              {true, inPrefix},
}

// The condition keys carried; a name ending in "/" stands for a family.
var keys = []string{
	"aws:resourcetag/", "aws:requesttag/", "aws:tagkeys", "aws:principalarn", "aws:principalaccount",
	"aws:principaltype", "aws:principalorgid", "aws:sourceidentity", "aws:requestedregion",
	"aws:sourcearn", "aws:sourceaccount",
	"aws:securetransport", "aws:sourceip", "aws:resourceaccount", "aws:useragent", "aws:viaawsservice",
	"sts:sourceidentity", "sts:externalid", "sts:rolesessionname",
	"iam:permissionsboundary", "iam:policyarn", "iam:resourcetag/", "iam:passedtoservice",
	"ec2:resourcetag/", "ec2:createaction", "ec2:region", "ec2:add/", "ec2:remove/",
	"s3:prefix",
	"s3:if-none-match", "s3:if-match", "s3:object-lock-mode",
	"kms:granteeprincipal", "kms:signingalgorithm", "kms:messagetype",
	"kms:viaservice", "backup:changeablefordays", "backup:minretentiondays", "backup:maxretentiondays",
	"eks:principalarn", "eks:accessentrytype", "eks:kubernetesgroups", "eks:username", "eks:clustername",
	"organizations:policytype",
}

func newCondition(op, key string, values []string) (c condition, unsupported string) {
	c = condition{op: strings.ToLower(op), key: strings.ToLower(key), values: values}
	if set, rest, ok := strings.Cut(c.op, ":"); ok {
		c.set, c.op = set, rest
		if set != "forallvalues" && set != "foranyvalue" {
			return c, fmt.Sprintf("condition operator %q", op)
		}
	}
	if rest, ok := strings.CutSuffix(c.op, "ifexists"); ok {
		c.op, c.ifExists = rest, true
	}
	if _, ok := operators[c.op]; !ok && c.op != "null" {
		return c, fmt.Sprintf("condition operator %q", op)
	}
	if c.op == "null" && (c.ifExists || c.set != "") {
		return c, fmt.Sprintf("condition operator %q", op)
	}
	known := false
	for _, k := range keys {
		known = known || k == c.key || strings.HasSuffix(k, "/") && strings.HasPrefix(c.key, k)
	}
	if !known {
		return c, fmt.Sprintf("condition key %q", key)
	}
	for _, v := range values {
		switch {
		case strings.Contains(v, "${"):
			return c, "policy variable in " + v
		case strings.HasSuffix(c.op, "ipaddress"):
			if _, err := parsePrefix(v); err != nil {
				return c, fmt.Sprintf("condition value %q is no address", v)
			}
		case c.op == "bool" || c.op == "null":
			if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
				return c, fmt.Sprintf("condition value %q is neither true nor false", v)
			}
		}
	}
	return c, ""
}

// holds says whether the condition is met by the request's values of its key.
func (c condition) holds(ctx Context) bool {
	have, present := ctx[c.key]
	if c.op == "null" {
		for _, v := range c.values {
			if strings.EqualFold(v, "true") == !present {
				return true
			}
		}
		return false
	}
	op := operators[c.op]
	if !present {
		return c.ifExists || op.negated || c.set == "forallvalues"
	}
	// A negated operator holds for a value that none of the patterns matches.
	one := func(v string) bool {
		for _, p := range c.values {
			if op.match(p, v) {
				return !op.negated
			}
		}
		return op.negated
	}
	if c.set == "forallvalues" || c.set == "" && op.negated {
		for _, v := range have {
			if !one(v) {
				return false
			}
		}
		return true
	}
	for _, v := range have {
		if one(v) {
			return true
		}
	}
	return false
}

// wildcard matches * (any run) and ? (any one character).
func wildcard(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// arnLike matches the six parts of an ARN one by one, so that a wildcard does
// not reach over a colon (except in the last part, which may hold colons).
func arnLike(pattern, s string) bool {
	pp, sp := strings.SplitN(pattern, ":", 6), strings.SplitN(s, ":", 6)
	if len(pp) != len(sp) {
		return false
	}
	for i := range pp {
		if !wildcard(pp[i], sp[i]) {
			return false
		}
	}
	return true
}

func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func inPrefix(pattern, s string) bool {
	p, err := parsePrefix(pattern)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(s)
	return err == nil && p.Contains(a.Unmap())
}
