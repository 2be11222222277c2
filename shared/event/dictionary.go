package event

import _ "embed"

//go:embed DICTIONARY.md
var dictionaryMD string

// Dictionary returns the data dictionary of an Event as Markdown: headings, tables
// and paragraphs. It is generated from the types of this package.
func Dictionary() string { return dictionaryMD }
