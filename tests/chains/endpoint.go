package chains

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/auditcanary/auditcanary/shared/trail"
)

// Endpoint answers what a validator asks of AWS: the objects from an S3 server, the
// rest of CloudTrail and Organizations itself. It authenticates nobody.
type Endpoint struct {
	S3 http.Handler
	// Rename says which of the server's buckets stands for one that is asked for:
	// archives whose digests name the same bucket lie in several.
	Rename map[string]string
	Keys   []trail.PublicKey
	// Trail to describe, as DescribeTrails does, and the organisation's id.
	Trail        map[string]any
	Organization string
	// Latency of each answer.
	Latency time.Duration
}

func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(e.Latency)
	target := r.Header.Get("X-Amz-Target")
	switch operation := target[strings.LastIndexByte(target, '.')+1:]; {
	case operation == "ListPublicKeys":
		var in struct{ StartTime, EndTime float64 }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		from, until := time.Unix(int64(in.StartTime), 0), time.Unix(int64(in.EndTime), 0)
		keys := []map[string]any{}
		for _, k := range e.Keys {
			if !k.Until.Before(from) && !k.From.After(until) {
				keys = append(keys, map[string]any{"Value": k.DER, "Fingerprint": k.Fingerprint,
					"ValidityStartTime": k.From.Unix(), "ValidityEndTime": k.Until.Unix()})
			}
		}
		answer(w, map[string]any{"PublicKeyList": keys})
	case operation == "DescribeTrails":
		answer(w, map[string]any{"trailList": []any{e.Trail}})
	case operation == "DescribeOrganization":
		answer(w, map[string]any{"Organization": map[string]any{"Id": e.Organization}})
	case operation != "":
		http.Error(w, "no such operation: "+operation, http.StatusBadRequest)
	case r.URL.Query().Has("location"):
		w.Header().Set("Content-Type", "application/xml")
		fmt.Fprint(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>`) // us-east-1
	default:
		bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if to := e.Rename[bucket]; to != "" {
			r = r.Clone(r.Context())
			r.URL.Path, r.URL.RawPath = "/"+to+"/"+key, ""
		}
		e.S3.ServeHTTP(w, r)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
