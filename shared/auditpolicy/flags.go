package auditpolicy

import (
	"fmt"
	"strconv"
	"strings"
)

// Flags says what of an API server's command line loses records, whatever its policy:
// args as they stand there ("--audit-webhook-mode=batch", or the value as the next one).
func Flags(args []string) []Finding {
	set := flagsOf(args)
	var out []Finding
	weak := func(status Status, flag, format string, a ...any) {
		out = append(out, Finding{Status: status, At: "--" + flag, Detail: fmt.Sprintf(format, a...)})
	}
	file, hook := set["audit-log-path"], set["audit-webhook-config-file"]
	switch {
	case set["audit-policy-file"] == "":
		weak(Dropped, "audit-policy-file", "no policy is given: the server records nothing")
	case file == "" && hook == "":
		weak(Dropped, "audit-log-path", "neither a file nor a webhook is given: the server records nothing")
	}
	if hook != "" {
		switch mode := or(set["audit-webhook-mode"], "batch"); mode {
		case "batch":
			weak(Weak, "audit-webhook-mode", "records are sent in batches after the request was answered: those in the buffer (%s) are lost when the server dies, and dropped when it is full", or(set["audit-webhook-batch-buffer-size"], "10000"))
		case "blocking":
			weak(Weak, "audit-webhook-mode", "a request is answered although its record could not be sent")
		case "blocking-strict":
		default:
			weak(Weak, "audit-webhook-mode", "mode %.40q is not known", mode)
		}
		if set["audit-webhook-truncate-enabled"] == "true" {
			weak(Weak, "audit-webhook-truncate-enabled", "bodies are left out of records larger than %s bytes", or(set["audit-webhook-truncate-max-event-size"], "102400"))
		}
	}
	if file == "" || file == "-" {
		return out
	}
	if mode := or(set["audit-log-mode"], "blocking"); mode == "batch" {
		weak(Weak, "audit-log-mode", "records are written in batches after the request was answered: those in the buffer are lost when the server dies")
	} else if mode == "blocking" {
		weak(Weak, "audit-log-mode", "a request is answered although its record could not be written; blocking-strict would refuse it")
	}
	size, backups, age := number(set["audit-log-maxsize"]), number(set["audit-log-maxbackup"]), number(set["audit-log-maxage"])
	if size > 0 && backups > 0 {
		weak(Weak, "audit-log-maxbackup", "at most %d files of %d MB are kept: who makes enough requests pushes records out before they are shipped", backups, size)
	}
	if age > 0 {
		weak(Weak, "audit-log-maxage", "files are deleted after %d days: whatever was not shipped by then is lost", age)
	}
	return out
}

// flagsOf reads --name=value and --name value; the last one of a name counts.
func flagsOf(args []string) map[string]string {
	set := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, found := strings.CutPrefix(args[i], "--")
		if !found {
			continue
		}
		name, value, given := strings.Cut(name, "=")
		name = strings.ReplaceAll(name, "_", "-")
		if !given {
			value = "true"
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
				i++
				value = args[i]
			}
		}
		set[name] = value
	}
	return set
}

func or(v, otherwise string) string {
	if v == "" {
		return otherwise
	}
	return v
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}
