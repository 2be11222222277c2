// Package event holds one normalised privileged event.
//
// Every raw audit-log format has one reader (ReadCloudTrail, ...) that turns a
// raw record into an Event, and one list of named differences: the places in
// which the provider's log legitimately differs from the call that was made
// (null parameters on a denial, a version suffix in an operation name, ...).
// The rest of the program sees only Event, so a further log format is one file
// here and not a line elsewhere.
//
// Field names follow OCSF 1.5 API Activity (class 6003) where OCSF has a name;
// DICTIONARY.md beside this file is generated from the types below.
package event

import "time"

// Event is one privileged action as a log tells it, or (when built from a
// receipt) as we know it was done. The zero value of a field means "not stated".
type Event struct {
	// Time at which the provider says the request was completed. UTC, second resolution.
	Time time.Time `json:"time,omitzero"`
	// Metadata identifies the record itself.
	Metadata Metadata `json:"metadata"`
	// Cloud says where the action happened.
	Cloud Cloud `json:"cloud"`
	// Actor says who acted.
	Actor Actor `json:"actor"`
	// API says what was asked, and what came of it.
	API API `json:"api"`
	// SrcEndpoint says from where.
	SrcEndpoint Endpoint `json:"src_endpoint"`
	// HTTPRequest holds what the client said of itself.
	HTTPRequest HTTPRequest `json:"http_request"`
	// Resources the provider lists as touched.
	Resources []Resource `json:"resources,omitempty"`
}

// Metadata identifies the record.
type Metadata struct {
	// UID is the record's own id (CloudTrail eventID).
	UID string `json:"uid,omitempty"`
	// LogName is the format's name: "cloudtrail".
	LogName string `json:"log_name,omitempty"`
	// LogVersion is the record's schema version as written (CloudTrail eventVersion, "1.11").
	LogVersion string `json:"log_version,omitempty"`
	// EventCode is the provider's record kind (CloudTrail eventType: AwsApiCall, AwsServiceEvent, ...).
	EventCode string `json:"event_code,omitempty"`
	// Category is the provider's event category (Management, Data, Insight, NetworkActivity).
	Category string `json:"category,omitempty"`
	// SharedUID joins the copies that several accounts got of one event (CloudTrail sharedEventID).
	SharedUID string `json:"shared_uid,omitempty"`
	// Amends is set when this record corrects or delays an earlier one (CloudTrail addendum).
	Amends *Amendment `json:"amends,omitempty"`
	// Truncated is true when the provider says it left parts out (CloudTrail "omitted").
	Truncated bool `json:"truncated,omitempty"`
}

// Amendment is CloudTrail's addendum.
type Amendment struct {
	// Reason: DELIVERY_DELAY, UPDATED_DATA or SERVICE_OUTAGE.
	Reason string `json:"reason"`
	// UpdatedFields, comma-separated, as written by the provider.
	UpdatedFields string `json:"updated_fields,omitempty"`
	// OriginalUID is the eventID of the record this one corrects (UPDATED_DATA only).
	OriginalUID string `json:"original_uid,omitempty"`
	// OriginalRequestUID is the request id of the record this one corrects.
	OriginalRequestUID string `json:"original_request_uid,omitempty"`
}

// Cloud is where.
type Cloud struct {
	// Provider: "AWS", "GCP", "Kubernetes".
	Provider string `json:"provider,omitempty"`
	// Account the event was delivered to (CloudTrail recipientAccountId).
	Account string `json:"account,omitempty"`
	// Region in which it was recorded (CloudTrail awsRegion).
	Region string `json:"region,omitempty"`
}

// Actor is who.
type Actor struct {
	// Type of identity (CloudTrail userIdentity.type: AssumedRole, IAMUser, Root, AWSService, ...).
	Type string `json:"type,omitempty"`
	// UID is the full name of the identity (ARN, e-mail).
	UID string `json:"uid,omitempty"`
	// UIDAlt is the provider's unique id (CloudTrail principalId, "AROA...:session").
	UIDAlt string `json:"uid_alt,omitempty"`
	// Name is the short name where the provider gives one.
	Name string `json:"name,omitempty"`
	// Account the identity belongs to.
	Account string `json:"account,omitempty"`
	// CredentialUID is the public id of the credential (access key id).
	CredentialUID string `json:"credential_uid,omitempty"`
	// Session under which it acted.
	Session Session `json:"session"`
	// InvokedBy is the service that acted on the actor's behalf, if any.
	InvokedBy string `json:"invoked_by,omitempty"`
	// OnBehalfOf is the human identity behind the session, if the provider knows (Identity Center user id).
	OnBehalfOf string `json:"on_behalf_of,omitempty"`
}

// Session is the temporary identity.
type Session struct {
	// Issuer is the full name of the role the session comes from (session issuer ARN).
	Issuer string `json:"issuer,omitempty"`
	// Name is the session's name, chosen by the caller, hence forgeable.
	Name string `json:"name,omitempty"`
	// SourceIdentity was set when the first role was assumed and survives chaining.
	SourceIdentity string `json:"source_identity,omitempty"`
	// Created is the time the session began.
	Created time.Time `json:"created_time,omitzero"`
	// MFA says whether a second factor was used; nil when not stated.
	MFA *bool `json:"is_mfa,omitempty"`
}

// API is what was asked and what came of it.
type API struct {
	// Service is the provider's event source ("iam.amazonaws.com").
	Service string `json:"service,omitempty"`
	// Operation is the operation's name ("CreateRole").
	Operation string `json:"operation,omitempty"`
	// RequestUID is the id the service gave the request.
	RequestUID string `json:"request_uid,omitempty"`
	// Request holds the parameters as a JSON object (nil when the record has none).
	Request map[string]any `json:"request,omitempty"`
	// Response holds the reply's elements as a JSON object (nil when the record has none).
	Response map[string]any `json:"response,omitempty"`
	// ReadOnly is the provider's own classification; nil when not stated.
	ReadOnly *bool `json:"read_only,omitempty"`
	// Error is the error code, "" on success.
	Error string `json:"error,omitempty"`
	// ErrorMessage as recorded; providers cut it (CloudTrail: 1 KB).
	ErrorMessage string `json:"error_message,omitempty"`
}

// Endpoint is from where.
type Endpoint struct {
	// IP address of the client, when the record holds an address.
	IP string `json:"ip,omitempty"`
	// Domain instead, when it holds a name ("cloudtrail.amazonaws.com", "AWS Internal").
	Domain string `json:"domain,omitempty"`
}

// HTTPRequest is what the client said of itself.
type HTTPRequest struct {
	// UserAgent as recorded; client-chosen, hence forgeable.
	UserAgent string `json:"user_agent,omitempty"`
}

// Resource touched.
type Resource struct {
	// UID of the resource (ARN).
	UID string `json:"uid,omitempty"`
	// Type as the provider names it ("AWS::S3::Bucket").
	Type string `json:"type,omitempty"`
	// Account that owns it.
	Account string `json:"account,omitempty"`
}
