package event

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// IDs are what a raw record is known by: its own id and that of its request, as its
// reader gives them in Metadata.UID and API.RequestUID.
type IDs struct {
	Record, Request string
	// Format whose record it is, by LogName.
	Format string
}

// Identify reads the ids of one raw record of any format there is, and nothing else of
// it. The format is told by the member that holds the record's id: what has none of them
// is taken for CloudTrail's, without an id.
func Identify(raw []byte) (IDs, error) {
	var r struct {
		EventID   string `json:"eventID"` // CloudTrail
		RequestID string `json:"requestID"`
		AuditID   string `json:"auditID"` // audit.k8s.io
		Stage     string `json:"stage"`
		InsertID  string `json:"insertId"` // Cloud Logging
		Operation struct {
			ID string `json:"id"`
		} `json:"operation"`
	}
	if err := json.Unmarshal(raw, &r, jsontext.AllowInvalidUTF8(true)); err != nil {
		return IDs{}, fmt.Errorf("the record is not a JSON object that has an id: %w", err)
	}
	switch {
	case r.EventID != "":
	case r.AuditID != "":
		return IDs{r.AuditID + "/" + r.Stage, r.AuditID, Kubernetes}, nil
	case r.InsertID != "":
		return IDs{r.InsertID, r.Operation.ID, GKE}, nil
	}
	return IDs{r.EventID, r.RequestID, "cloudtrail"}, nil
}

// Read reads one raw record of any format there is, as Identify tells it. What a record
// does not say of where it is of (no audit event names its cluster) is left empty.
func Read(raw []byte) (Event, error) {
	ids, err := Identify(raw)
	if err != nil {
		return ReadCloudTrail(raw) // which says what is wrong
	}
	switch ids.Format {
	case Kubernetes:
		return ReadKubernetes(raw)
	case GKE:
		return ReadGKE(raw)
	}
	return ReadCloudTrail(raw)
}
