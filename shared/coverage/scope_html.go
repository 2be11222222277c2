package coverage

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"
)

//go:embed scope.html
var scopeHTML string

//go:embed scope.css
var scopeCSS string

// WriteHTML writes the scope document as one self-contained page.
func (s Scope) WriteHTML(w io.Writer) error {
	t, err := template.New("scope.html").Funcs(template.FuncMap{
		"stated": stated, "join": strings.Join, "said": Adequacy.said,
	}).Parse(scopeHTML)
	if err != nil {
		return fmt.Errorf("scope document: %w", err)
	}
	sum := sha256.Sum256([]byte(scopeCSS))
	err = t.Execute(w, struct {
		Scope
		// CSS is allowed by its hash, and nothing else is.
		CSS                                                template.CSS
		CSSHash, Generated, Purpose, Summary, StatedActors string
		Actors                                             []Actor
		StoreFacts                                         [][2]string
	}{
		s, template.CSS(scopeCSS), base64.StdEncoding.EncodeToString(sum[:]), s.Now.UTC().Format(time.RFC3339),
		purpose, s.adequacySummary(), strings.ReplaceAll(noActors, "*", ""), s.actors(), s.storeFacts(),
	})
	if err != nil {
		return fmt.Errorf("scope document: %w", err)
	}
	return nil
}
