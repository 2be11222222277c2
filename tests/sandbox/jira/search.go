package jira

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// searchRequest is of both searches; of a GET it is the query.
type searchRequest struct {
	JQL           string   `json:"jql"`
	Fields        []string `json:"fields"`
	StartAt       int      `json:"startAt"`
	MaxResults    *int     `json:"maxResults"`
	NextPageToken string   `json:"nextPageToken"`
}

func (c *call) search() (searchRequest, error) {
	var r searchRequest
	if c.Method == http.MethodPost {
		return r, decode(c.body, &r)
	}
	q := c.URL.Query()
	r.JQL, r.NextPageToken = q.Get("jql"), q.Get("nextPageToken")
	if f := q.Get("fields"); f != "" {
		r.Fields = strings.Split(f, ",")
	}
	r.StartAt, _ = strconv.Atoi(q.Get("startAt"))
	if n, err := strconv.Atoi(q.Get("maxResults")); err == nil {
		r.MaxResults = &n
	}
	return r, nil
}

func (s *Server) size(r searchRequest) int {
	if r.MaxResults == nil || *r.MaxResults <= 0 || *r.MaxResults > s.opts.PageSize {
		return min(50, s.opts.PageSize)
	}
	return *r.MaxResults
}

// search is Data Center's; Cloud has removed it.
func (s *Server) search(c *call) (reply, error) {
	if s.opts.Flavour == Cloud {
		return reply{}, fail(410, "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. A full migration guideline is available at https://developer.atlassian.com/changelog/#CHANGE-2046")
	}
	r, err := c.search()
	if err != nil {
		return reply{}, err
	}
	all, _, err := s.query(c, r.JQL)
	if err != nil {
		return reply{}, err
	}
	if len(r.Fields) == 0 {
		r.Fields = []string{"*navigable"}
	}
	size := s.size(r)
	start := min(max(r.StartAt, 0), len(all))
	return ok(map[string]any{
		"expand": "schema,names", "startAt": start, "maxResults": size, "total": len(all),
		"issues": s.beans(c, all[start:min(start+size, len(all))], r.Fields),
	})
}

// searchJQL is Cloud's: pages follow each other by token, there is no total, and no
// field unless it is asked for.
func (s *Server) searchJQL(c *call) (reply, error) {
	if s.opts.Flavour == DataCenter {
		return reply{}, fail(404, "null for uri: "+c.URL.Path)
	}
	r, err := c.search()
	if err != nil {
		return reply{}, err
	}
	all, bounded, err := s.query(c, r.JQL)
	if err != nil {
		return reply{}, err
	}
	if !bounded {
		return reply{}, fail(400, "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.")
	}
	start := 0
	if r.NextPageToken != "" {
		var at pageToken
		data, err := base64.RawURLEncoding.DecodeString(r.NextPageToken)
		if err != nil || json.Unmarshal(data, &at) != nil || at.Of != hashOf(r.JQL) || at.Start < 0 {
			return reply{}, fail(400, "The provided next page token is invalid or expired.")
		}
		start = min(at.Start, len(all))
	}
	end := min(start+s.size(r), len(all))
	body := map[string]any{"issues": s.beans(c, all[start:end], r.Fields), "isLast": end == len(all)}
	if end < len(all) {
		token, err := json.Marshal(pageToken{end, hashOf(r.JQL)})
		if err != nil {
			return reply{}, err
		}
		body["nextPageToken"] = base64.RawURLEncoding.EncodeToString(token)
	}
	return ok(body)
}

type pageToken struct {
	Start int
	Of    string
}

func hashOf(jql string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(jql)))[:16] }

func (s *Server) query(c *call, jql string) (all []found, bounded bool, err error) {
	q, err := s.parse(jql)
	if err != nil {
		return nil, false, err
	}
	if c.user.Blind {
		return nil, q.bounded, nil
	}
	all, err = s.run(q)
	return all, q.bounded, err
}

func (s *Server) beans(c *call, list []found, want []string) []any {
	out := []any{}
	for _, f := range list {
		b := s.issueBean(c, f.issue, f.seen, f.project, want, false)
		if len(want) == 0 || len(want) == 1 && want[0] == "id" {
			b = map[string]any{"id": f.id}
		}
		out = append(out, b)
	}
	return out
}
