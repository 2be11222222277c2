package scenarios

// Category is a class of privileged activity that must leave a record. Coverage
// is reported per account, region and category.
type Category struct {
	ID    string
	Title string
}

// Categories returns the classes of privileged activity, from the guidance of
// ISO/IEC 27017 12.4.3 and from what independent detection rule sets watch.
func Categories() []Category {
	return []Category{
		{"permissions", "Permissions and roles"},
		{"network-rules", "Network rules"},
		{"encryption-keys", "Encryption keys"},
		{"logging-disabled", "Logging and monitoring disabled"},
		{"backup-retention", "Backup and retention"},
		{"production-data-stores", "Production data stores"},
		{"storage-permissions", "Storage permissions"},
		{"control-plane-api", "Control-plane API calls"},
		{"identity-provider", "Identity provider"},
		{"privileged-access-tooling", "Privileged access tooling"},
		{"security-tooling", "Security tooling (SIEM, EDR, WAF, KMS and HSM)"},
		{"kubernetes", "Kubernetes"},
		{"ci-cd-service-accounts", "CI/CD and service accounts"},
		{"break-glass", "Break-glass access"},
		{"os-hosts", "Operating systems of hosts"},
		{"saas", "SaaS"},
	}
}
