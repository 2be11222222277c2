package cloud

import (
	"net/http"
	"time"
)

// Clock is the sandbox's time: real time, or faster (-speed).
type Clock interface {
	Now() time.Time
	// Until returns how long to wait, in real time, until the sandbox's clock shows t.
	Until(t time.Time) time.Duration
}

// Principal is who signed a request.
type Principal struct {
	Account        string
	Type           string // Root, IAMUser, AssumedRole
	ARN            string
	PrincipalID    string
	UserName       string
	AccessKeyID    string
	RoleARN        string // of an assumed role
	RoleName       string
	RoleID         string
	SessionName    string
	SourceIdentity string
	SessionCreated time.Time
}

// Request is an authenticated API call on its way through the control plane.
type Request struct {
	HTTP      *http.Request
	Service   string // signing name: "iam", "s3"
	Operation string // "CreateRole"
	Region    string // region it was signed for
	RequestID string
	Principal Principal
	// Params in the API's names, as the service sees them.
	Params map[string]any
	Time   time.Time
}

// Record is one CloudTrail record, as JSON will have it.
type Record map[string]any

// Sink takes every record the control plane writes. The archive implements it:
// it delivers records to the trails' buckets.
type Sink interface {
	// Emit takes a record of an account and region.
	Emit(account, region string, rec Record)
	// EmitAfter takes a record whose delivery is later than usual by extra
	// (sandbox time), because a fault says so.
	EmitAfter(account, region string, rec Record, extra time.Duration)
}
