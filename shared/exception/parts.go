package exception

import (
	"encoding/json"
	"fmt"
)

// maxParts bounds a register: at most so many entries of the ledger.
const maxParts = 64

// Divide cuts a register into parts of at most size bytes of JSON each, to be kept one
// after the other and put together again by Join. One that fits is one part.
func (r Register) Divide(size int) ([]Register, error) {
	r.Part, r.Parts = 0, 0
	head := r
	head.Exceptions = []Exception{}
	empty, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("divide the register of exceptions: %w", err)
	}
	const partsText = 40 // ,"part":123,"parts":123
	var parts []Register
	n := size // full: the first exception begins a part
	for _, e := range r.Exceptions {
		text, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("divide the register of exceptions: %s: %w", e.ID, err)
		}
		need := len(text) + 1
		if len(empty)+partsText+need > size {
			return nil, fmt.Errorf("exception %s takes %d bytes; at most %d fit into an entry of the ledger", e.ID, len(text), size-len(empty)-partsText)
		}
		if n+need > size {
			part := head
			part.Exceptions = []Exception{}
			parts, n = append(parts, part), len(empty)+partsText
		}
		last := &parts[len(parts)-1]
		last.Exceptions = append(last.Exceptions, e)
		n += need
	}
	if len(parts) == 0 {
		return []Register{head}, nil
	}
	if len(parts) > maxParts {
		return nil, fmt.Errorf("the register of exceptions takes more than %d entries of the ledger: take out what has expired", maxParts)
	}
	if len(parts) > 1 {
		for i := range parts {
			parts[i].Part, parts[i].Parts = i+1, len(parts)
		}
	}
	return parts, nil
}

// Joining puts registers together from their parts, which come in order.
type Joining struct{ so Register }

// Join takes the next part; whole reports whether with it the register is complete.
// Parts that do not follow each other make no register: nothing of them counts.
func (j *Joining) Join(part Register) (r Register, whole bool) {
	if part.Parts <= 1 {
		j.so = Register{}
		part.Part, part.Parts = 0, 0
		return part, true
	}
	switch {
	case part.Parts > maxParts:
		j.so = Register{}
		return Register{}, false
	case part.Part == 1:
		j.so = part
		j.so.Exceptions = append([]Exception{}, part.Exceptions...)
	case part.Part == j.so.Part+1 && part.Parts == j.so.Parts && part.SHA256 == j.so.SHA256 && j.so.Part > 0:
		j.so.Part = part.Part
		j.so.Exceptions = append(j.so.Exceptions, part.Exceptions...)
	default:
		j.so = Register{}
		return Register{}, false
	}
	if j.so.Part < j.so.Parts {
		return Register{}, false
	}
	r, j.so = j.so, Register{}
	r.Part, r.Parts = 0, 0
	return r, true
}
