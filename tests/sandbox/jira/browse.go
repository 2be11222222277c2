package jira

import (
	"html"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// What a person looks at: no scripts, nothing that is not escaped.

var pages = template.Must(template.New("").Funcs(template.FuncMap{"body": bodyHTML}).Parse(`
{{define "head"}}<!doctype html><html lang="en"><meta charset="utf-8"><title>{{.}}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#172b4d}
table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #c1c7d0;padding:.2rem .6rem;text-align:left;vertical-align:top}
pre{background:#f4f5f7;padding:.6rem;overflow:auto;white-space:pre-wrap}.lozenge{background:#deebff;border-radius:3px;padding:.1rem .4rem;font-size:.85em}
.done{background:#e3fcef}.label{background:#f4f5f7;border-radius:3px;padding:0 .3rem;margin-right:.3rem}article{border-top:1px solid #dfe1e6;margin-top:1rem}small{color:#6b778c}</style>{{end}}
{{define "index"}}{{template "head" "Jira"}}<h1>Jira</h1><table><tr><th>Key<th>Type<th>Summary<th>Status<th>Labels<th>Created</tr>
{{range .}}<tr><td><a href="browse/{{.Key}}">{{.Key}}</a><td>{{.Type}}<td>{{.Summary}}<td><span class="lozenge {{.Status.Category}}">{{.Status.Name}}</span><td>{{range .Labels}}<span class="label">{{.}}</span>{{end}}<td>{{.Created}}</tr>
{{else}}<tr><td colspan="6">No tickets.</tr>{{end}}</table>{{end}}
{{define "ticket"}}{{template "head" .Key}}<p><a href="../">All tickets</a></p><h1>{{.Key}}: {{.Summary}}</h1>
<p><span class="lozenge {{.Status.Category}}">{{.Status.Name}}</span> {{.Type}}{{with .Priority}}, priority {{.}}{{end}}, reported by {{.Reporter}} {{.Created}}</p>
<p>{{range .Labels}}<span class="label">{{.}}</span>{{end}}</p><section>{{body .Body}}</section>
{{with .Files}}<h2>Attachments</h2><ul>{{range .}}<li>{{.Name}} ({{.Size}} bytes)<details><summary>show</summary><pre>{{.Data}}</pre></details></li>{{end}}</ul>{{end}}
{{with .Comments}}<h2>Comments</h2>{{range .}}<article><small>{{.Author}}, {{.Created}}</small>{{body .Body}}</article>{{end}}{{end}}{{end}}`))

type view struct {
	Key, Type, Summary, Priority, Reporter, Created string
	Status                                          Status
	Labels                                          []string
	Body                                            any
	Files                                           []viewFile
	Comments                                        []viewComment
}

type viewFile struct {
	Name, Data string
	Size       int
}

type viewComment struct {
	Author, Created string
	Body            any
}

func (s *Server) view(i *issue) view {
	v := view{
		Key: i.key, Priority: text(i.fields["priority"], "name"), Reporter: i.reporter.Display, Created: i.created.Format("2006-01-02 15:04 UTC"),
		Status: i.status, Labels: labelsOf(i.fields), Body: i.fields["description"],
	}
	v.Summary, _ = i.fields["summary"].(string)
	if p := s.project(i.project); p != nil && p.kind(i.kind) != nil {
		v.Type = p.kind(i.kind).Name
	}
	for _, a := range i.attachments {
		v.Files = append(v.Files, viewFile{a.name, string(a.data[:min(len(a.data), 100_000)]), len(a.data)})
	}
	for _, c := range i.comments {
		v.Comments = append(v.Comments, viewComment{c.author.Display, c.created.Format("2006-01-02 15:04 UTC"), c.body})
	}
	return v
}

func (s *Server) show(w http.ResponseWriter, page string, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("X-Content-Type-Options", "nosniff")
	if err := pages.ExecuteTemplate(w, page, data); err != nil {
		http.Error(w, "cannot show it: "+err.Error(), http.StatusInternalServerError)
	}
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	views := []view{}
	for _, i := range slices.Backward(s.issues) {
		if !i.deleted {
			views = append(views, s.view(i))
		}
	}
	s.mu.Unlock()
	s.show(w, "index", views)
}

func (s *Server) browse(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	i := s.find(r.PathValue("issue"))
	var v view
	if i != nil {
		v = s.view(i)
	}
	s.mu.Unlock()
	if i == nil {
		http.Error(w, "There is no such ticket.", http.StatusNotFound)
		return
	}
	s.show(w, "ticket", v)
}

// bodyHTML shows a document node by node; of wiki markup the text, with what stands
// in it as numbers.
func bodyHTML(body any) template.HTML {
	var out strings.Builder
	if text, isText := body.(string); isText {
		out.WriteString("<pre>" + html.EscapeString(html.UnescapeString(text)) + "</pre>")
	} else {
		nodeHTML(&out, body)
	}
	return template.HTML(out.String())
}

var tags = map[string]string{
	"paragraph": "p", "heading": "h3", "bulletList": "ul", "orderedList": "ol", "listItem": "li", "table": "table", "tableRow": "tr",
	"tableHeader": "th", "tableCell": "td", "codeBlock": "pre", "doc": "div",
}

func nodeHTML(out *strings.Builder, v any) {
	n, _ := v.(map[string]any)
	kind, _ := n["type"].(string)
	if kind == "hardBreak" {
		out.WriteString("<br>")
		return
	}
	if text, ok := n["text"].(string); ok {
		shown := html.EscapeString(text)
		marks, _ := n["marks"].([]any)
		for _, m := range marks {
			mark, _ := m.(map[string]any)
			attrs, _ := mark["attrs"].(map[string]any)
			href, _ := attrs["href"].(string)
			if u, err := url.Parse(href); mark["type"] == "link" && err == nil && (u.Scheme == "https" || u.Scheme == "http") {
				shown = `<a rel="noreferrer" href="` + html.EscapeString(href) + `">` + shown + "</a>"
			}
		}
		out.WriteString(shown)
		return
	}
	tag := tags[kind]
	if tag != "" {
		out.WriteString("<" + tag + ">")
	}
	content, _ := n["content"].([]any)
	for _, c := range content {
		nodeHTML(out, c)
	}
	if tag != "" {
		out.WriteString("</" + tag + ">")
	}
}
