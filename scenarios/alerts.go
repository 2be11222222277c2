package scenarios

// Alert is a name under which scenarios promise an alert. Where an alert of that name
// arrives, the configuration says; scenarios of your own may promise other names.
type Alert struct {
	Name string
	// Means what somebody must be told.
	Means string
}

// Alerts returns the names that the built-in scenarios promise: few, so that each can
// be one rule with one place where it arrives.
func Alerts() []Alert {
	return []Alert{
		{"permissions-changed", "somebody may do more than before, or may become somebody: roles, policies, trust, keys of service accounts, identity providers, entries to a cluster"},
		{"network-changed", "a way into or out of a network was made: security groups, network ACLs, routes, gateways"},
		{"keys-changed", "an encryption key was disabled, or is to be deleted"},
		{"logging-tampered", "what records or alerts was stopped, narrowed or deleted: trails, recorders, flow logs, log groups, metric filters, event rules"},
		{"backup-tampered", "backups, retention or locks were changed or taken away"},
		{"storage-opened", "a store of data may be read by more than before: bucket policies, public access blocks, shared snapshots"},
		{"security-tooling-changed", "the tools of detection and defence were changed: rules, filters, findings, web ACLs"},
		{"host-access-changed", "a way onto hosts was made: key pairs, commands, instance profiles"},
		{"configuration-changed", "parameters, secrets, or settings of data stores or of the organisation were changed"},
		{"break-glass-used", "the emergency role was assumed"},
		{"tampering-refused", "somebody tried to take a protection away, and was refused"},
	}
}
