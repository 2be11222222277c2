package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// keysAt are the DigestKeys of a server that answers with the handler.
func keysAt(t *testing.T, h http.HandlerFunc) *DigestKeys {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return NewDigestKeys(awssdk.Config{
		BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", ""),
		Retryer: func() awssdk.Retryer { return awssdk.NopRetryer{} },
	})
}

var keysFrom = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

func TestDigestKeysAreAskedInTheRegionOfTheDigest(t *testing.T) {
	var asked []string
	keys := keysAt(t, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			StartTime, EndTime float64
			NextToken          string
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		region := strings.Split(scope, "/")[2]
		target := r.Header.Get("X-Amz-Target")
		operation := target[strings.LastIndexByte(target, '.')+1:]
		asked = append(asked, fmt.Sprint(region, " ", operation, " ", int64(in.EndTime-in.StartTime), "s ", in.NextToken))
		if in.NextToken == "" {
			io.WriteString(w, `{"PublicKeyList":[{"Fingerprint":"f1","Value":"AQI=","ValidityStartTime":1436317441,"ValidityEndTime":1438909441}],"NextToken":"n"}`)
			return
		}
		io.WriteString(w, `{"PublicKeyList":[{"Fingerprint":"f2","Value":"Aw=="}]}`)
	})
	got, err := keys.PublicKeys(context.Background(), "eu-west-1", keysFrom, keysFrom.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Fingerprint != "f1" || string(got[0].DER) != "\x01\x02" || got[0].From.Year() != 2015 || got[0].Until.Year() != 2015 || got[1].Fingerprint != "f2" {
		t.Errorf("%+v", got)
	}
	if want := "[eu-west-1 ListPublicKeys 3600s  eu-west-1 ListPublicKeys 3600s n]"; fmt.Sprint(asked) != want {
		t.Errorf("asked %v, want %s", asked, want)
	}
}

func TestDigestKeysFailRatherThanGuess(t *testing.T) {
	for name, c := range map[string]struct {
		status      int
		body, wants string
	}{
		"denied":           {400, `{"__type":"AccessDeniedException","message":"no"}`, "cloudtrail:ListPublicKeys in this region"},
		"expired":          {400, `{"__type":"ExpiredTokenException","message":"no"}`, "credentials have expired"},
		"a key without":    {200, `{"PublicKeyList":[{"Fingerprint":"f1"}]}`, "without its fingerprint or value"},
		"endless":          {200, `{"PublicKeyList":[],"NextToken":"n"}`, "ListPublicKeys in eu-west-1"},
		"no answer at all": {500, "", "ListPublicKeys in eu-west-1"},
	} {
		t.Run(name, func(t *testing.T) {
			keys := keysAt(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/x-amz-json-1.1")
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			got, err := keys.PublicKeys(context.Background(), "eu-west-1", keysFrom, keysFrom)
			if err == nil || !strings.Contains(err.Error(), c.wants) || len(got) != 0 {
				t.Errorf("%v, %v, want %q", got, err, c.wants)
			}
		})
	}
}
