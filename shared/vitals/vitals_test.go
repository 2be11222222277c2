package vitals

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryNumberIsToldSomewhere reads the program: each name in the list is used by
// wire, which tells them all, and none is used that is not in the list.
func TestEveryNumberIsToldSomewhere(t *testing.T) {
	files, err := filepath.Glob("../wire/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	used := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "vitals" {
					used[sel.Sel.Name] = true
				}
			}
			return true
		})
	}
	for _, v := range All() {
		if !used[string(v.Name)] {
			t.Errorf("nobody tells %s", v.Name)
		}
		if len(v.By) == 0 || v.What == "" {
			t.Errorf("%s says nothing of itself", v.Name)
		}
	}
}
