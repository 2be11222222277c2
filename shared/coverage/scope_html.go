package coverage

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
)

//go:embed scope.html
var scopeHTML string

//go:embed scope.css
var scopeCSS string

// WriteHTML writes the scope document as one self-contained page.
func (s Scope) WriteHTML(w io.Writer) error {
	t, err := template.New("scope.html").Funcs(template.FuncMap{"join": strings.Join, "said": Adequacy.said}).Parse(scopeHTML)
	if err != nil {
		return fmt.Errorf("scope document: %w", err)
	}
	sum := sha256.Sum256([]byte(scopeCSS))
	err = t.Execute(w, struct {
		Scope
		// CSS is allowed by its hash, and nothing else is.
		CSS                                 template.CSS
		CSSHash, Generated, Purpose         string
		Document, Store, Actors, Systems    grid
		StatedActors                        string
		Common                              []string
		Untested, NotShown, AdequacyInShort string
		AnyDecided                          bool
		Annex                               []System
	}{
		s, template.CSS(scopeCSS), base64.StdEncoding.EncodeToString(sum[:]), s.generated(), purpose,
		across("Document and approval", s.documentFacts()), across("Where the records arrive", s.storeFacts()), s.actors(), s.systems(),
		strings.ReplaceAll(noActors, "*", ""), s.common(), s.untested(), notShown, s.adequacySummary(),
		slices.ContainsFunc(s.Adequacy, func(a Adequacy) bool { return a.Decision != nil }), s.annex(),
	})
	if err != nil {
		return fmt.Errorf("scope document: %w", err)
	}
	return nil
}

// across makes a table of one row of facts.
func across(title string, facts [][2]string) grid {
	g := grid{Class: "facts", Title: title, Rows: make([][]string, 1)}
	for _, f := range facts {
		g.Head, g.Rows[0] = append(g.Head, f[0]), append(g.Rows[0], f[1])
	}
	return g
}
