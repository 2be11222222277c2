package coverage

import (
	"slices"
	"time"
)

// Source is a class of log sources, for which somebody decides whether what is
// recorded suffices.
type Source struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	// Limits is what to know before deciding.
	Limits string `json:"limits"`
}

// Sources lists the classes on which ISO/IEC 27017 12.4.3 asks the customer to decide.
func Sources() []Source {
	return []Source{
		{"cloud-management-events", "Cloud control plane, management events",
			"a trail may leave out read-only calls (AssumeRole is one), KMS and the RDS Data API"},
		{"cloud-data-events", "Cloud data events",
			"recorded only where a selector asks for them, deletion of objects in the log bucket included"},
		{"cloud-network-activity-events", "Cloud network activity events",
			"the only record of S3 and KMS calls that a VPC endpoint's policy refuses"},
		{"console-sign-in", "Console sign-in",
			"recorded without a request id, in the region of the sign-in endpoint"},
		{"identity-provider", "Identity provider",
			"whoever administers it decides who is an administrator; it keeps a log of its own"},
		{"privileged-access-tooling", "Privileged access tooling, vaults and bastions",
			"approvals and recorded sessions stand in the tool's own log"},
		{"kubernetes", "Kubernetes audit logs",
			"the cloud records calls of its own API only; each cluster's audit log must be switched on"},
		{"os-hosts", "Operating systems of hosts",
			"the cloud records that a session began, not what was done in it"},
		{"databases", "Databases",
			"the cloud records changes of the instance, not what an administrator does within the engine"},
		{"ci-cd", "CI/CD systems",
			"the cloud records the pipeline's calls, not who changed or approved the pipeline"},
		{"saas", "SaaS applications",
			"each has an administrators' log of its own, with its own retention"},
	}
}

// SourceIDs lists the IDs of Sources.
func SourceIDs() []string {
	var ids []string
	for _, s := range Sources() {
		ids = append(ids, s.ID)
	}
	return ids
}

func isSource(id string) bool { return slices.Contains(SourceIDs(), id) }

// Sufficient or Additional is what can be decided of a source.
const (
	// Sufficient: what the provider records suffices.
	Sufficient = "sufficient"
	// Additional logging is needed; the decision says which is done.
	Additional = "additional"
)

// Decision is somebody's answer to whether the provider's logging suffices.
type Decision struct {
	Source   string    `json:"source"`
	Decision string    `json:"decision"`
	Why      string    `json:"why"`
	Done     string    `json:"additional,omitempty"`
	By       string    `json:"by"`
	On       time.Time `json:"on"`
	ReviewBy time.Time `json:"review_by"`
}

// AdequacyState says whether a source's decision stands.
type AdequacyState string

const (
	Undecided AdequacyState = "undecided" // nobody decided, or from a later day on
	Decided   AdequacyState = "decided"
	Overdue   AdequacyState = "overdue" // the day by which it was to be reviewed is over
)

// Adequacy is what is decided of one source.
type Adequacy struct {
	Source
	State AdequacyState `json:"state"`
	// Decision as it was taken; null while undecided.
	Decision *Decision `json:"decision"`
	// Operations of the universe that are recorded in this source.
	Operations int `json:"operations"`
}

// Decide holds the decisions against the sources: each source has one answer.
func Decide(ds []Decision, ops []Operation, now time.Time) []Adequacy {
	var out []Adequacy
	for _, s := range Sources() {
		a := Adequacy{Source: s, State: Undecided}
		for _, op := range ops {
			if op.Source == s.ID {
				a.Operations++
			}
		}
		for _, d := range ds {
			if d.Source != s.ID || d.On.After(now) || d.Decision != Sufficient && d.Decision != Additional {
				continue
			}
			a.Decision, a.State = &d, Decided
			if !now.Before(d.ReviewBy.AddDate(0, 0, 1)) { // the day itself is still in time
				a.State = Overdue
			}
		}
		out = append(out, a)
	}
	return out
}
