package slack

import (
	"encoding/json"
	"html/template"
	"net/http"
	"strings"
)

// index lists the channels.
func (w *Workspace) index(rw http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []Channel
	for _, c := range w.channels {
		all = append(all, c.Channel)
	}
	write(rw, map[string]any{"Title": "Channels", "Channels": all})
}

// shown is a message on a page.
type shown struct {
	Anchor, At, By string
	Edited         bool
	Blocks         []shownBlock
	Replies        []shown
}

type shownBlock struct {
	Header, Context bool
	Lines           []shownLine
}

type shownLine struct {
	Bullet bool
	Parts  []shownPart
}

type shownPart struct {
	Text, URL string
	Bold      bool
}

// page shows a channel with its threads, as plain HTML without a script.
func (w *Workspace) page(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.channel(r.PathValue("channel"))
	if c == nil {
		http.NotFound(rw, r)
		return
	}
	var all []shown
	for _, m := range c.messages {
		if m.Thread != "" {
			continue
		}
		one := present(m)
		for _, reply := range c.messages {
			if reply.Thread == m.TS {
				one.Replies = append(one.Replies, present(reply))
			}
		}
		all = append(all, one)
	}
	write(rw, map[string]any{"Title": "#" + c.Name, "Messages": all, "Archived": c.Archived})
}

func present(m *Message) shown {
	out := shown{Anchor: "p" + strings.Replace(m.TS, ".", "", 1), At: m.TS, By: m.User, Edited: m.Edited}
	var blocks []map[string]any
	if json.Unmarshal(m.Blocks, &blocks) != nil || len(blocks) == 0 {
		out.Blocks = []shownBlock{{Lines: []shownLine{{Parts: []shownPart{{Text: unescape(m.Text)}}}}}}
		return out
	}
	for _, b := range blocks {
		kind, _ := b["type"].(string)
		one := shownBlock{Header: kind == "header", Context: kind == "context"}
		collect(b, false, &one)
		out.Blocks = append(out.Blocks, one)
	}
	return out
}

// collect takes in what a block's elements say, whichever they are.
func collect(v map[string]any, bullet bool, into *shownBlock) {
	kind, _ := v["type"].(string)
	text, isText := v["text"].(string)
	link, _ := v["url"].(string)
	if isText || link != "" {
		if kind == "plain_text" || kind == "mrkdwn" {
			text = unescape(text)
		}
		if text == "" {
			text = link
		}
		style, _ := v["style"].(map[string]any)
		if len(into.Lines) == 0 {
			into.Lines = []shownLine{{}}
		}
		at := &into.Lines[len(into.Lines)-1]
		at.Parts = append(at.Parts, shownPart{Text: text, URL: link, Bold: style["bold"] == true})
		return
	}
	if kind == "rich_text_section" || kind == "context" || kind == "section" {
		into.Lines = append(into.Lines, shownLine{Bullet: bullet})
	}
	if inner, ok := v["text"].(map[string]any); ok {
		collect(inner, bullet, into)
	}
	for _, key := range []string{"elements", "fields"} {
		list, _ := v[key].([]any)
		for _, e := range list {
			if one, ok := e.(map[string]any); ok {
				collect(one, bullet || kind == "rich_text_list", into)
			}
		}
	}
}

var unescaper = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

func unescape(s string) string { return unescaper.Replace(s) }

func write(rw http.ResponseWriter, data any) {
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	// An error means that the caller is gone, and there is nobody to tell.
	_ = pages.Execute(rw, data)
}

var pages = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}} (Slack sandbox)</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1d1c1d }
article { border-top: 1px solid #ddd; padding: .6rem 0 } article article { margin-left: 2rem; border-left: 3px solid #ddd; padding-left: 1rem }
h3, p { margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere } p.b::before { content: "• " } p.c, small { color: #616061; font-size: .85em }
</style></head><body><h1>{{.Title}}</h1>
{{if .Archived}}<p><em>archived</em></p>{{end}}
{{range .Channels}}<p><a href="/archives/{{.ID}}">#{{.Name}}</a> {{.ID}}</p>{{end}}
{{define "message"}}<article id="{{.Anchor}}"><small>{{.By}} · {{.At}}{{if .Edited}} · edited{{end}}</small>
{{range $b := .Blocks}}{{range .Lines}}{{if $b.Header}}<h3>{{else}}<p{{if .Bullet}} class="b"{{else if $b.Context}} class="c"{{end}}>{{end}}{{range .Parts}}{{if .URL}}<a href="{{.URL}}" rel="noreferrer">{{.Text}}</a>{{else if .Bold}}<b>{{.Text}}</b>{{else}}{{.Text}}{{end}}{{end}}{{if $b.Header}}</h3>{{else}}</p>{{end}}
{{end}}{{end}}{{range .Replies}}{{template "message" .}}{{end}}</article>
{{end}}{{range .Messages}}{{template "message" .}}{{end}}
</body></html>
`))
