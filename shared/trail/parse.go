package trail

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
)

// parser walks the JSON of one log file, window by window, down to the elements
// of "Records". It follows JSON's grammar (strings, escapes, brackets, commas,
// literals), so nothing inside a string can pass for a record or for a key. It
// does not check what strings hold: a record that is returned is decoded anyway.
type parser struct {
	want   map[string]bool
	marker *marker

	phase   phase
	first   bool  // no member or element was seen yet in the current container
	base    int64 // offset in the file of the window's first byte
	seen    bool  // a "Records" key was met
	skip    skipper
	claims  int
	asked   int
	dropped int
	file    File

	closers [MaxDepth]byte // the open containers of the value being walked, by their closing byte
}

type phase uint8

const (
	atStart       phase = iota
	atMember            // of the top-level object
	atOther             // value of a member other than "Records"
	afterMember         //
	atElement           // of "Records"
	afterElement        //
	inLongElement       // skipping an element that is too large or too deep
	inLongOther         // skipping such a value elsewhere
	atEnd               // after the top-level object
	lost                // boundaries are no longer certain
)

// feed takes the bytes from p.base on and returns how many it has done with;
// the caller brings the others again, in front of what follows them. What it
// leaves is always shorter than MaxRecord.
func (p *parser) feed(b []byte) (used int) {
	i := 0
	for {
		n, ok := p.step(b[i:])
		i += n
		p.base += int64(n)
		if !ok {
			return i
		}
	}
}

// step does one thing at the start of b. ok is false when b must be longer first.
func (p *parser) step(b []byte) (n int, ok bool) {
	switch p.phase {
	case inLongElement, inLongOther:
		return p.skipOn(b)
	case lost:
		return len(b), false
	case atStart:
		if len(b) < 3 && p.base == 0 {
			return 0, false
		}
		if p.base == 0 && bytes.HasPrefix(b, []byte("\xef\xbb\xbf")) {
			p.defect(0, "begins with a byte order mark, which CloudTrail does not write")
			return 3, true
		}
	}
	if n = space(b); n > 0 {
		return n, true
	}
	if len(b) == 0 {
		return 0, false
	}

	switch p.phase {
	case atStart:
		if b[0] != '{' {
			return p.lose("not a JSON object, found %s", show(b[0]))
		}
		p.phase, p.first = atMember, true
		return 1, true

	case atMember:
		if b[0] == '}' && p.first {
			p.phase = atEnd
			return 1, true
		}
		return p.member(b)

	case afterMember:
		switch b[0] {
		case ',':
			p.phase, p.first = atMember, false
		case '}':
			p.phase = atEnd
		default:
			return p.lose("not JSON: want , or } after a member, found %s", show(b[0]))
		}
		return 1, true

	case atElement:
		if b[0] == ']' && p.first {
			p.phase = afterMember
			return 1, true
		}
		return p.element(b)

	case afterElement:
		switch b[0] {
		case ',':
			p.phase, p.first = atElement, false
		case ']':
			p.phase = afterMember
		default:
			return p.lose("not JSON: want , or ] after a record, found %s", show(b[0]))
		}
		return 1, true

	case atOther:
		n, _, err := p.walk(limit(b))
		switch {
		case err == errShort && len(b) < MaxRecord:
			return 0, false
		case err == errShort || err == errDeep:
			return p.skipFrom(inLongOther, err)
		case err != nil:
			p.base += int64(n)
			return p.lose("not JSON: %v", err)
		}
		p.phase = afterMember
		return n, true

	default: // atEnd
		return p.lose("unexpected %s after the end of the JSON object", show(b[0]))
	}
}

// member reads a key of the top-level object, up to the first byte of its value.
func (p *parser) member(b []byte) (n int, ok bool) {
	if b[0] != '"' {
		return p.lose("not JSON: want a key, found %s", show(b[0]))
	}
	b = limit(b)
	if i := stringEnd(b, 0); i > 0 {
		key := b[1 : i-1]
		i += space(b[i:])
		if i < len(b) && b[i] != ':' {
			return p.lose("not JSON: want : after a key, found %s", show(b[i]))
		}
		i++
		if i < len(b) {
			i += space(b[i:])
		}
		if i < len(b) {
			return p.memberValue(key, i, b[i])
		}
	}
	if len(b) >= MaxRecord {
		return p.lose("key of more than %d bytes", MaxRecord)
	}
	return 0, false
}

func (p *parser) memberValue(key []byte, n int, value byte) (int, bool) {
	p.phase = atOther
	if !equal(key, "Records") {
		return n, true
	}
	if p.seen {
		p.defect(p.base, `"Records" occurs again; its records are read too`)
	}
	p.seen = true
	if value != '[' {
		p.defect(p.base+int64(n), fmt.Sprintf(`"Records" is not an array, found %s`, show(value)))
		return n, true
	}
	p.phase, p.first = atElement, true
	return n + 1, true
}

// element reads one element of "Records", which should be an object.
func (p *parser) element(b []byte) (n int, ok bool) {
	n, asked, err := p.walk(limit(b))
	switch {
	case err == errShort && len(b) < MaxRecord:
		return 0, false
	case err == errShort || err == errDeep:
		p.file.Records++
		return p.skipFrom(inLongElement, err)
	case err != nil:
		at := p.base
		p.base += int64(n)
		return p.lose("not JSON in the record at byte %d: %v; nothing after it was read", at, err)
	}
	p.file.Records++
	p.phase = afterElement
	if raw := b[:n]; raw[0] != '{' {
		p.defect(p.base, fmt.Sprintf("record is not a JSON object, found %s", show(raw[0])))
	} else if asked {
		p.keep(raw, true, &p.asked, MaxAsked)
	} else if p.marker.in(raw) {
		p.keep(raw, false, &p.claims, MaxClaims)
	}
	return n, true
}

// keep copies a record out of the window.
func (p *parser) keep(raw []byte, asked bool, kept *int, most int) {
	if *kept+len(raw) > most {
		what := "the marker"
		if asked {
			what = "a request id asked for"
		}
		p.defect(p.base, fmt.Sprintf("record carries %s, but more than %d bytes of such records came before it; not kept", what, most))
		return
	}
	*kept += len(raw)
	p.file.Found = append(p.file.Found, Record{Offset: p.base, Raw: bytes.Clone(raw), Asked: asked})
}

// skipFrom leaves out the value at p.base, of which only the end matters.
func (p *parser) skipFrom(ph phase, why error) (int, bool) {
	p.phase, p.skip = ph, skipper{deep: why == errDeep, at: p.base}
	return 0, true
}

func (p *parser) skipOn(b []byte) (n int, ok bool) {
	n, done, err := p.skip.on(b)
	if err != nil {
		p.base += int64(n)
		return p.lose("not JSON in the value at byte %d: %v; nothing after it was read", p.skip.at, err)
	}
	if !done {
		return n, false
	}
	what, next := "record", afterElement
	if p.phase == inLongOther {
		what, next = "value", afterMember
	}
	if size := p.base + int64(n) - p.skip.at; p.skip.deep {
		p.defect(p.skip.at, fmt.Sprintf("%s is nested more than %d deep; not read", what, MaxDepth))
	} else {
		p.defect(p.skip.at, fmt.Sprintf("%s is %d bytes long, the limit is %d; not read", what, size, MaxRecord))
	}
	p.phase = next
	return n, true
}

// finish is called at the end of a file that could be inflated.
func (p *parser) finish() {
	switch p.phase {
	case lost:
	case atStart:
		p.defect(p.file.Bytes, "no JSON in it")
	case atEnd:
		if !p.seen {
			p.defect(0, `no "Records" key`)
		}
	case inLongElement, inLongOther:
		p.defect(p.skip.at, "not JSON: the value that begins here has no end")
	default:
		p.defect(p.base, "not JSON: the file ends within what begins here")
	}
}

// lose gives up the boundaries from p.base on.
func (p *parser) lose(format string, args ...any) (int, bool) {
	p.defect(p.base, fmt.Sprintf(format, args...))
	p.phase = lost
	return 0, true
}

func (p *parser) defect(at int64, text string) {
	if len(p.file.Defects) >= maxDefects {
		p.dropped++
		return
	}
	p.file.Defects = append(p.file.Defects, Defect{at, text})
}

// limit cuts b to what a record may have: what does not end within it is too large.
func limit(b []byte) []byte { return b[:min(len(b), MaxRecord)] }

type parseError string

func (e parseError) Error() string { return string(e) }

const (
	errShort = parseError("ends too soon")
	errDeep  = parseError("nested too deep")
)

// walk goes over the JSON value that begins at b[0] and returns its length, and
// whether it is a record asked for. On a syntax error n is where it stands.
func (p *parser) walk(b []byte) (n int, asked bool, err error) {
	i, depth := 0, 0
	addendum := false // in the record's "addendum"
	for {
		// A value follows; within an object its key first.
		if depth > 0 && p.closers[depth-1] == '}' {
			if i = past(b, i); i >= len(b) {
				return 0, false, errShort
			}
			if b[i] != '"' {
				return i, false, parseError("want a key, found " + show(b[i]))
			}
			end := stringEnd(b, i)
			if end < 0 {
				return 0, false, errShort
			}
			key := b[i+1 : end-1]
			if i = past(b, end); i >= len(b) {
				return 0, false, errShort
			}
			if b[i] != ':' {
				return i, false, parseError("want : after a key, found " + show(b[i]))
			}
			i = past(b, i+1)
			if depth <= 2 && i < len(b) && b[i] == '"' {
				if depth == 1 && equal(key, "requestID") || depth == 2 && addendum && equal(key, "originalRequestID") {
					end := stringEnd(b, i)
					if end < 0 {
						return 0, false, errShort
					}
					asked = asked || p.wanted(b[i:end])
				}
			}
			if depth == 1 {
				addendum = equal(key, "addendum")
			}
		} else {
			i = past(b, i)
		}
		if i >= len(b) {
			return 0, false, errShort
		}

		switch c := b[i]; c {
		case '"':
			end := stringEnd(b, i)
			if end < 0 {
				return 0, false, errShort
			}
			i = end
		case '{', '[':
			if depth == MaxDepth {
				return 0, false, errDeep
			}
			p.closers[depth] = c + 2 // in ASCII { and }, [ and ] lie two apart
			depth++
			if i = past(b, i+1); i >= len(b) {
				return 0, false, errShort
			}
			if b[i] != c+2 {
				continue // to its first key or value
			}
			// Empty: closed below.
		default:
			end := literalEnd(b, i)
			if end == len(b) {
				return 0, false, errShort
			}
			if !isLiteral(b[i:end]) {
				return i, false, parseError("want a value, found " + show(c))
			}
			i = end
		}

		// Then what closes, and a comma before the next key or value.
		for {
			if depth == 0 {
				return i, asked, nil
			}
			if i = past(b, i); i >= len(b) {
				return 0, false, errShort
			}
			if b[i] == ',' {
				i++
				break
			}
			if b[i] != p.closers[depth-1] {
				return i, false, parseError("want , or " + string(p.closers[depth-1]) + ", found " + show(b[i]))
			}
			depth--
			i++
		}
	}
}

// wanted says whether the JSON string s (with its quotes) is a request id asked for.
func (p *parser) wanted(s []byte) bool {
	if bytes.IndexByte(s, '\\') < 0 {
		return p.want[string(s[1:len(s)-1])]
	}
	var id string
	return json.Unmarshal(s, &id) == nil && p.want[id]
}

// equal compares the inside of a JSON string with a name, which JSON may spell with escapes.
func equal(inside []byte, name string) bool {
	// The shortest escape, \u0041 for A, makes it five bytes longer.
	return string(inside) == name || len(inside) >= len(name)+5 && equalEscaped(inside, name)
}

func equalEscaped(inside []byte, name string) bool {
	if bytes.IndexByte(inside, '\\') < 0 {
		return false
	}
	var s string
	quoted := append(append([]byte{'"'}, inside...), '"')
	return json.Unmarshal(quoted, &s) == nil && s == name
}

// stringEnd returns the index after the string that opens at b[i], -1 if b ends first.
func stringEnd(b []byte, i int) int {
	// Most strings are short: eight bytes at a time, by arithmetic, beats
	// IndexByte's set-up. The lowest bit of zero marks the first byte that is a quote.
	j := i + 1
	for range 4 {
		if j+8 > len(b) {
			break
		}
		v := binary.LittleEndian.Uint64(b[j:]) ^ 0x2222222222222222
		zero := (v - 0x0101010101010101) &^ v & 0x8080808080808080
		if zero == 0 {
			j += 8
			continue
		}
		j += bits.TrailingZeros64(zero) >> 3
		if b[j-1] != '\\' {
			return j + 1
		}
		break
	}
	return longStringEnd(b, i, j)
}

// longStringEnd goes on from j, before which no quote ends the string.
func longStringEnd(b []byte, i, j int) int {
	for ; ; j++ {
		k := bytes.IndexByte(b[j:], '"')
		if k < 0 {
			return -1
		}
		j += k
		// A quote is escaped after an odd number of backslashes.
		n := 0
		for j-1-n > i && b[j-1-n] == '\\' {
			n++
		}
		if n%2 == 0 {
			return j + 1
		}
	}
}

// space counts the white space at the start of b.
func space(b []byte) int {
	for i, c := range b {
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return i
		}
	}
	return len(b)
}

// past returns the index of the first byte from b[i] on that is no white space.
func past(b []byte, i int) int {
	if i < len(b) && b[i] > ' ' {
		return i
	}
	return i + space(b[i:])
}

// literalEnd returns the index after a number or word that begins at b[i].
func literalEnd(b []byte, i int) int {
	for i < len(b) {
		switch c := b[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			i++
		default:
			return i
		}
	}
	return i
}

func isLiteral(b []byte) bool {
	switch string(b) {
	case "true", "false", "null":
		return true
	case "":
		return false
	}
	return isNumber(b)
}

// isNumber follows RFC 8259: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func isNumber(b []byte) bool {
	digits := func() (n int) {
		for n < len(b) && '0' <= b[n] && b[n] <= '9' {
			n++
		}
		b = b[n:]
		return n
	}
	if b[0] == '-' {
		b = b[1:]
	}
	zero := len(b) > 0 && b[0] == '0'
	if n := digits(); n == 0 || zero && n > 1 {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
		if digits() == 0 {
			return false
		}
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return len(b) == 0
}

// skipper finds the end of a value of any length with no memory of it: it knows
// strings and depth, not the rest of the grammar.
type skipper struct {
	at       int64 // offset of the value in the file
	deep     bool  // skipped for its depth, not its length
	depth    int64
	inString bool
	escaped  bool
}

// on goes on through b; done says the value ended after n bytes.
func (k *skipper) on(b []byte) (n int, done bool, err error) {
	for i, c := range b {
		switch {
		case k.inString:
			switch {
			case k.escaped:
				k.escaped = false
			case c == '\\':
				k.escaped = true
			case c == '"':
				k.inString = false
			}
		case c == '"':
			k.inString = true
		case c == '{' || c == '[':
			k.depth++
		case c == '}' || c == ']':
			k.depth--
		default:
			if k.depth == 0 {
				return i, false, parseError("want a string, an object or an array, found " + show(c))
			}
		}
		if k.depth < 0 {
			return i, false, parseError("found " + show(c))
		}
		if k.depth == 0 && !k.inString {
			return i + 1, true, nil
		}
	}
	return len(b), false, nil
}

// show names one byte of unknown origin.
func show(c byte) string {
	if c > ' ' && c < 0x7f {
		return fmt.Sprintf("%q", string(c))
	}
	return fmt.Sprintf("byte 0x%02x", c)
}
