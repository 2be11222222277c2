package event

import "time"

// Tolerance is how far two honest clocks may lie apart.
type Tolerance struct {
	// Before and After bound got.Time relative to want.Time.
	Before, After time.Duration
}

// Difference is one field in which a record does not say what we know.
type Difference struct {
	// Field is the dotted name, e.g. "actor.session.issuer", "api.request.RoleName".
	Field string `json:"field"`
	// Expected is what the receipt says, Found what the record says ("" = absent).
	Expected string `json:"expected"`
	Found    string `json:"found"`
	// Rule names the known provider behaviour that explains the difference;
	// "" means nothing explains it: the record is wrong.
	Rule string `json:"rule,omitempty"`
}
