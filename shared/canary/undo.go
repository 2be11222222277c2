package canary

import "fmt"

// ProveUndo refuses a step whose undo is not proven. proven is the one call that is known
// to undo the step's ("" none does, for it leaves nothing); idle says that this very call
// changes nothing although others of its name do. Whether the undo is about what the call
// was about is the driver's to know.
func (s Step) ProveUndo(proven string, idle bool) error {
	switch {
	case s.Undo != nil && s.NoUndo != "":
		return fmt.Errorf("%s has an undo and a reason why none is needed", s.Call)
	case s.Undo == nil && proven != "" && !idle:
		return fmt.Errorf("%s has no undo: it must be undone by %s", s.Call, proven)
	case s.Undo == nil && s.NoUndo == "":
		return fmt.Errorf("%s has no undo, and no reason (no_undo) why none is needed", s.Call)
	case s.Undo != nil && proven == "":
		return fmt.Errorf("%s leaves nothing to undo, but an undo is given (%s)", s.Call, s.Undo.Call)
	case s.Undo != nil && s.Undo.Call != proven:
		return fmt.Errorf("%s is not proven to undo %s: %s is", s.Undo.Call, s.Call, proven)
	}
	return nil
}
