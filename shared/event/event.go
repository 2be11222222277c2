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
// DICTIONARY.md beside this file is generated from the types below; the tags
// "cloudtrail" and "kubernetes" on a field name the raw field it is read from.
package event

import "time"

// Event is one privileged action as a log tells it, or (when built from a
// receipt) as we know it was done. The zero value of a field means "not stated".
type Event struct {
	// Time at which the provider says the request was completed. UTC; CloudTrail gives
	// it to the second, Kubernetes to the microsecond.
	Time time.Time `json:"time,omitzero" cloudtrail:"eventTime" kubernetes:"stageTimestamp"`
	// Metadata identifies the record itself.
	Metadata Metadata `json:"metadata"`
	// Cloud says where the action happened.
	Cloud Cloud `json:"cloud"`
	// Actor says who acted.
	Actor Actor `json:"actor"`
	// API says what was asked, and what came of it.
	API API `json:"api"`
	// Authorization says who allowed or refused it, where the record does.
	Authorization Authorization `json:"authorization,omitzero"`
	// SrcEndpoint says from where.
	SrcEndpoint Endpoint `json:"src_endpoint"`
	// HTTPRequest holds what the client said of itself.
	HTTPRequest HTTPRequest `json:"http_request"`
	// Resources the provider lists as touched.
	Resources []Resource `json:"resources,omitempty"`
}

// Metadata identifies the record.
type Metadata struct {
	// UID is the record's own id.
	UID string `json:"uid,omitempty" cloudtrail:"eventID" kubernetes:"auditID/stage"`
	// LogName is the format's name: "cloudtrail".
	LogName string `json:"log_name,omitempty"`
	// LogVersion is the record's schema version as written ("1.11").
	LogVersion string `json:"log_version,omitempty" cloudtrail:"eventVersion" kubernetes:"apiVersion"`
	// EventCode is the provider's record kind (AwsApiCall, AwsServiceEvent, ...).
	EventCode string `json:"event_code,omitempty" cloudtrail:"eventType" kubernetes:"stage"`
	// Category is the provider's event category (Management, Data, Insight, NetworkActivity).
	Category string `json:"category,omitempty" cloudtrail:"eventCategory" kubernetes:"level"`
	// SharedUID joins the copies that several accounts got of one event.
	SharedUID string `json:"shared_uid,omitempty" cloudtrail:"sharedEventID"`
	// Amends is set when this record corrects or delays an earlier one.
	Amends *Amendment `json:"amends,omitempty" cloudtrail:"addendum"`
	// Truncated is true when the provider says it left parts out.
	Truncated bool `json:"truncated,omitempty" cloudtrail:"omitted" kubernetes:"annotations[audit.k8s.io/truncated]"`
	// Unreadable names the raw fields whose values are not of the type the format
	// defines (eventTime: "yesterday"). They are left unstated, never guessed.
	Unreadable []string `json:"unreadable,omitempty"`
}

// Amendment is CloudTrail's addendum.
type Amendment struct {
	// Reason: DELIVERY_DELAY, UPDATED_DATA or SERVICE_OUTAGE.
	Reason string `json:"reason" cloudtrail:"addendum.reason"`
	// UpdatedFields, comma-separated, as written by the provider.
	UpdatedFields string `json:"updated_fields,omitempty" cloudtrail:"addendum.updatedFields"`
	// OriginalUID is the eventID of the record this one corrects (UPDATED_DATA only).
	OriginalUID string `json:"original_uid,omitempty" cloudtrail:"addendum.originalEventID"`
	// OriginalRequestUID is the request id of the record this one corrects.
	OriginalRequestUID string `json:"original_request_uid,omitempty" cloudtrail:"addendum.originalRequestID"`
}

// Cloud is where.
type Cloud struct {
	// Provider: "AWS", "GCP", "Kubernetes".
	Provider string `json:"provider,omitempty"`
	// Account the event was delivered to.
	Account string `json:"account,omitempty" cloudtrail:"recipientAccountId"`
	// Region in which it was recorded.
	Region string `json:"region,omitempty" cloudtrail:"awsRegion"`
}

// Actor is who.
type Actor struct {
	// Type of identity as the provider names it (AssumedRole, IAMUser, Root, AWSService, ...).
	Type string `json:"type,omitempty" cloudtrail:"userIdentity.type"`
	// UID is the most exact name of the identity that the record states: its ARN or
	// e-mail; where there is none, the acting service (AWSService), the Identity
	// Center user id (IdentityCenterUser), the unique id, the user name or the account.
	UID string `json:"uid,omitempty" cloudtrail:"userIdentity.arn" kubernetes:"user.username"`
	// UIDAlt is the provider's unique id ("AROA...:session").
	UIDAlt string `json:"uid_alt,omitempty" cloudtrail:"userIdentity.principalId" kubernetes:"user.uid"`
	// Name is the short name where the provider gives one.
	Name string `json:"name,omitempty" cloudtrail:"userIdentity.userName"`
	// Account the identity belongs to.
	Account string `json:"account,omitempty" cloudtrail:"userIdentity.accountId"`
	// CredentialUID is the public id of the credential (access key id).
	CredentialUID string `json:"credential_uid,omitempty" cloudtrail:"userIdentity.accessKeyId" kubernetes:"user.extra[authentication.kubernetes.io/credential-id], user.extra.accessKeyId (EKS)"`
	// Session under which it acted.
	Session Session `json:"session"`
	// InvokedBy is the service that acted on the actor's behalf, if any.
	InvokedBy string `json:"invoked_by,omitempty" cloudtrail:"userIdentity.invokedBy"`
	// IDP is the identity provider that vouched for a federated identity.
	IDP string `json:"idp_name,omitempty" cloudtrail:"userIdentity.identityProvider"`
	// Groups the identity is in, as the record lists them.
	Groups []string `json:"groups,omitempty" kubernetes:"user.groups"`
	// OnBehalfOf is the human identity behind the session, if the provider knows (Identity Center user id).
	OnBehalfOf string `json:"on_behalf_of,omitempty" cloudtrail:"userIdentity.onBehalfOf.userId"`
}

// Session is the temporary identity.
type Session struct {
	// Issuer is the full name of the role the session comes from (session issuer ARN).
	Issuer string `json:"issuer,omitempty" cloudtrail:"userIdentity.sessionContext.sessionIssuer.arn" kubernetes:"user.extra.canonicalArn (EKS)"`
	// Name is the session's name, chosen by the caller, hence forgeable. In Kubernetes:
	// the user that was impersonated.
	Name string `json:"name,omitempty" cloudtrail:"userIdentity.arn" kubernetes:"impersonatedUser.username, user.extra.sessionName (EKS)"`
	// SourceIdentity was set when the first role was assumed and survives chaining.
	SourceIdentity string `json:"source_identity,omitempty" cloudtrail:"userIdentity.sessionContext.sourceIdentity"`
	// Created is the time the session began.
	Created time.Time `json:"created_time,omitzero" cloudtrail:"userIdentity.sessionContext.attributes.creationDate"`
	// MFA says whether a second factor was used; nil when not stated.
	MFA *bool `json:"is_mfa,omitempty" cloudtrail:"userIdentity.sessionContext.attributes.mfaAuthenticated"`
}

// API is what was asked and what came of it.
type API struct {
	// Service is the provider's event source ("iam.amazonaws.com"); in Kubernetes the
	// API group, "core" for the one without a name, "non-resource" for a path of none.
	Service string `json:"service,omitempty" cloudtrail:"eventSource" kubernetes:"objectRef.apiGroup"`
	// Operation is the operation's name ("CreateRole"; in Kubernetes verb and resource,
	// "create serviceaccounts/token").
	Operation string `json:"operation,omitempty" cloudtrail:"eventName" kubernetes:"verb, objectRef.resource, objectRef.subresource"`
	// RequestUID is the id the service gave the request. In Kubernetes the caller may
	// choose it.
	RequestUID string `json:"request_uid,omitempty" cloudtrail:"requestID" kubernetes:"auditID"`
	// Request holds the parameters as a JSON object (nil when the record has none),
	// in the log's own spelling; in an event built from a receipt, in the API's.
	Request map[string]any `json:"request,omitempty" cloudtrail:"requestParameters" kubernetes:"objectRef, requestURI; requestObject as body"`
	// Response holds the reply's elements as a JSON object (nil when the record has none).
	Response map[string]any `json:"response,omitempty" cloudtrail:"responseElements" kubernetes:"responseStatus; responseObject as body"`
	// ReadOnly is the provider's own classification; nil when not stated.
	ReadOnly *bool `json:"read_only,omitempty" cloudtrail:"readOnly"`
	// Error is the error code, "" on success. Success is a statement too: it is
	// always compared.
	Error string `json:"error,omitempty" cloudtrail:"errorCode" kubernetes:"responseStatus.reason, responseStatus.code"`
	// ErrorMessage as recorded; providers cut it (CloudTrail: 1 KB).
	ErrorMessage string `json:"error_message,omitempty" cloudtrail:"errorMessage" kubernetes:"responseStatus.message"`
}

// Authorization is the decision on a request.
type Authorization struct {
	// Decision: "allow" or "forbid".
	Decision string `json:"decision,omitempty" kubernetes:"annotations[authorization.k8s.io/decision]"`
	// Reason in the provider's words ("RBAC: allowed by ClusterRoleBinding ...").
	Reason string `json:"reason,omitempty" kubernetes:"annotations[authorization.k8s.io/reason]"`
}

// Endpoint is from where.
type Endpoint struct {
	// IP address of the client, when the record holds an address. In an event
	// built from a receipt it may be a comma-separated list of addresses and
	// prefixes ("192.0.2.7, 2001:db8::/48"): the egress addresses a call may
	// have come from. In Kubernetes the last one recorded: those before it are the
	// caller's to choose.
	IP string `json:"ip,omitempty" cloudtrail:"sourceIPAddress" kubernetes:"sourceIPs[last]"`
	// Domain instead, when it holds a name ("cloudtrail.amazonaws.com", "AWS Internal").
	Domain string `json:"domain,omitempty" cloudtrail:"sourceIPAddress"`
}

// HTTPRequest is what the client said of itself.
type HTTPRequest struct {
	// UserAgent as recorded; client-chosen, hence forgeable.
	UserAgent string `json:"user_agent,omitempty" cloudtrail:"userAgent" kubernetes:"userAgent"`
}

// Resource touched.
type Resource struct {
	// UID of the resource (ARN; in Kubernetes group/version/namespaces/.../resource/name).
	UID string `json:"uid,omitempty" cloudtrail:"resources[].ARN" kubernetes:"objectRef"`
	// Type as the provider names it ("AWS::S3::Bucket").
	Type string `json:"type,omitempty" cloudtrail:"resources[].type" kubernetes:"objectRef.resource"`
	// Account that owns it.
	Account string `json:"account,omitempty" cloudtrail:"resources[].accountId"`
}
