package event

import (
	"errors"
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
	var eventID, requestID string // CloudTrail
	var auditID, stage string     // audit.k8s.io
	var insertID string           // Cloud Logging
	var operation struct {
		ID string `json:"id"`
	}
	members, err := splitObject(raw)
	for name, to := range map[string]any{
		"eventID": &eventID, "requestID": &requestID, "auditID": &auditID, "stage": &stage, "insertId": &insertID, "operation": &operation,
	} {
		if text, stated := members[name]; stated && err == nil {
			err = json.Unmarshal(text, to, jsontext.AllowInvalidUTF8(true))
		}
	}
	if err != nil {
		return IDs{}, fmt.Errorf("the record is not a JSON object that has an id: %w", err)
	}
	switch {
	case eventID != "":
	case auditID != "":
		return IDs{auditID + "/" + stage, auditID, Kubernetes}, nil
	case insertID != "":
		return IDs{insertID, operation.ID, GKE}, nil
	}
	// Nobody but its writer writes into a record of CloudTrail's.
	if !jsontext.Value(raw).IsValid(jsontext.AllowInvalidUTF8(true)) {
		return IDs{}, errors.New("the record is not a JSON object that has an id: a name stands twice in one object")
	}
	return IDs{eventID, requestID, "cloudtrail"}, nil
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
