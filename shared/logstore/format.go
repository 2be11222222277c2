package logstore

import (
	"maps"
	"slices"

	"github.com/auditcanary/auditcanary/shared/canary"
	"github.com/auditcanary/auditcanary/shared/event"
)

// format is how the records in a store are written.
type format struct {
	// split an entry into the records in it.
	split func([]byte) ([][]byte, error)
	read  func([]byte) (event.Event, error)
	// tells: the event says what came of its request.
	tells func(event.Event) bool
	// saysWhere: records say themselves which account and region they are of.
	saysWhere bool
	// placeWords stand in every record of a place, as far as records say it.
	placeWords func(canary.Target) []string
}

func alone(text []byte) ([][]byte, error) { return [][]byte{text}, nil }
func always(event.Event) bool             { return true }
func noWords(canary.Target) []string      { return nil }
func placeWords(t canary.Target) []string { return []string{t.Account, t.Region} }

var formats = map[string]format{
	// audit.k8s.io/v1: a line of the audit log, a webhook's EventList, a message of EKS.
	"kubernetes": {split: event.KubernetesEvents, read: event.ReadKubernetes, tells: event.KubernetesOutcome, placeWords: noWords},
	// LogEntries of Cloud Logging, of GKE clusters.
	"gke": {split: alone, read: event.ReadGKE, tells: event.KubernetesOutcome, saysWhere: true, placeWords: placeWords},
	// Single CloudTrail records, as a trail delivers them to CloudWatch Logs.
	"cloudtrail": {split: alone, read: event.ReadCloudTrail, tells: always, saysWhere: true, placeWords: placeWords},
}

// Formats are the names of the formats that are known.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }
