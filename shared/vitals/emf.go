package vitals

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Namespace of the metrics in CloudWatch, Dimension the only one they have.
const (
	Namespace = "auditcanary"
	Dimension = "Stage"
)

// maxValues of one metric in one document (the format's own limit).
const maxValues = 100

// metadata is what the embedded metric format wants in _aws.
type metadata struct {
	Timestamp int64       `json:"Timestamp"` // milliseconds since 1970
	Metrics   []directive `json:"CloudWatchMetrics"`
}

type directive struct {
	Namespace  string       `json:"Namespace"`
	Dimensions [][]string   `json:"Dimensions"`
	Metrics    []definition `json:"Metrics"`
}

type definition struct {
	Name Name `json:"Name"`
	Unit Unit `json:"Unit"`
}

// EMF returns numbers as documents of CloudWatch's embedded metric format, one line
// each: one, or more where a number has more values than a document takes. properties
// are written beside them, for whoever searches the log. None without a number.
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func EMF(at time.Time, stage string, properties map[string]string, numbers map[Name][]float64) ([][]byte, error) {
	rest := maps.Clone(numbers)
	var lines [][]byte
	for {
		root := map[string]any{Dimension: stage}
		for name, value := range properties {
			root[name] = value
		}
		var defined []definition
		for _, v := range All() {
			values := rest[v.Name]
			if len(values) == 0 {
				continue
			}
			some := values[:min(len(values), maxValues)]
			rest[v.Name] = values[len(some):]
			defined = append(defined, definition{v.Name, v.Unit})
			if len(some) == 1 {
				root[string(v.Name)] = some[0]
			} else {
				root[string(v.Name)] = some
			}
		}
		if len(defined) == 0 {
			break
		}
		root["_aws"] = metadata{at.UnixMilli(), []directive{{Namespace, [][]string{{Dimension}}, defined}}}
		line, err := json.Marshal(root)
		if err != nil {
			return nil, fmt.Errorf("encode the vitals: %w", err)
		}
		lines = append(lines, line)
	}
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		if len(rest[name]) > 0 {
			return nil, fmt.Errorf("encode the vitals: there is no number %q", name)
		}
	}
	return lines, nil
}
