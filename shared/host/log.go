package host

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/auditcanary/auditcanary/shared/vitals"
)

// A deployed function writes its log to standard error, a JSON object a line: one when a
// call begins, one when it ends, and between them what happens (AUDITCANARY_LOG: debug,
// info, warn or error; default info). On Lambda the call's vitals follow on standard
// output in CloudWatch's embedded metric format; elsewhere they are one more line.
//
// What the lines say of may be anybody's text: it is escaped, and cut where it is long.

// maxLogged is how long a text in a log may be, in bytes.
const maxLogged = 4 << 10

// platform is where a deployed function writes its log, and how.
type platform struct {
	log    io.Writer
	emf    io.Writer // nil: not on AWS
	google bool
	stage  string
	level  string
	clock  func() time.Time
}

// deployedOn is the platform that the environment says.
func deployedOn() platform {
	p := platform{log: os.Stderr, stage: os.Getenv("AUDITCANARY_STAGE"), level: os.Getenv("AUDITCANARY_LOG"), clock: time.Now}
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		p.emf = os.Stdout
	} else {
		p.google = true
	}
	return p
}

// logger writes JSON lines, as the platform's log reads them best.
func (p platform) logger() *slog.Logger {
	var level slog.Level // info
	err := level.UnmarshalText([]byte(p.level))
	log := slog.New(slog.NewJSONHandler(p.log, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if p.google && len(groups) == 0 {
			a = asGoogleHasIt(a)
		}
		return bounded(a)
	}}))
	if err != nil && p.level != "" {
		log.Warn("AUDITCANARY_LOG is none of debug, info, warn, error: info it is", "level", p.level)
	}
	return log
}

// asGoogleHasIt names what Cloud Logging reads out of a line.
func asGoogleHasIt(a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.MessageKey:
		a.Key = "message"
	case slog.LevelKey:
		a.Key = "severity"
		if l, ok := a.Value.Any().(slog.Level); ok && l == slog.LevelWarn {
			a.Value = slog.StringValue("WARNING")
		}
	}
	return a
}

// bounded cuts a long text.
func bounded(a slog.Attr) slog.Attr {
	text := ""
	switch v := a.Value.Any().(type) {
	case string:
		text = v
	case error:
		text = v.Error()
	default:
		return a
	}
	if len(text) > maxLogged {
		end := maxLogged
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = fmt.Sprintf("%s... (%d bytes)", text[:end], len(text))
	}
	return slog.String(a.Key, text)
}

// subject is what a log says of an event: nothing else of it is written down.
type subject struct {
	Run  string `json:"run"`
	Cell string `json:"cell"`
}

// watched is h with a log and its vitals.
func (p platform) watched(name string, h Handler) Handler {
	log := p.logger()
	return func(ctx context.Context, in json.RawMessage) (out any, err error) {
		began := p.clock()
		log := log.With("function", name)
		id := requestID(ctx)
		if id != "" {
			log = log.With("request_id", id)
		}
		call := vitals.NewCall(began, log)
		var about subject
		_ = json.Unmarshal(in, &about) // it may be an event of any form
		call.About(os.Getenv("AUDITCANARY_CELL"), "")
		call.About(about.Cell, about.Run)
		attrs := subjectOf(call)
		if deadline, ok := ctx.Deadline(); ok {
			attrs = append(attrs, slog.Int64("time_left_ms", deadline.Sub(began).Milliseconds()))
		}
		log.LogAttrs(ctx, slog.LevelInfo, "begun", attrs...)
		returned := false
		defer func() {
			if !returned { // the platform deals with it
				err = errors.New("panic")
			}
			p.end(ctx, name, id, call, out, err)
		}()
		out, err = h(call.With(ctx), in)
		returned = true
		return out, err
	}
}

func subjectOf(call *vitals.Call) []slog.Attr {
	var attrs []slog.Attr
	cell, run := call.Subject()
	if cell != "" {
		attrs = append(attrs, slog.String("cell", cell))
	}
	if run != "" {
		attrs = append(attrs, slog.String("run", run))
	}
	return attrs
}

// end writes what became of a call. It is written whatever became of ctx.
func (p platform) end(ctx context.Context, name, id string, call *vitals.Call, out any, err error) {
	ctx = context.WithoutCancel(ctx)
	now := p.clock()
	attrs := append(subjectOf(call), slog.Int64("duration_ms", now.Sub(call.Began).Milliseconds()))
	if err != nil {
		call.Log.LogAttrs(ctx, slog.LevelError, "failed", append(attrs, slog.String("outcome", "failed"), slog.Any("error", err))...)
	} else {
		outcome := "done"
		if coder, ok := out.(exitCoder); ok {
			outcome = map[int]string{0: "done", 1: "something failed"}[coder.ExitCode()]
			if outcome == "" {
				outcome = "something is not known or not done"
			}
		}
		call.Log.LogAttrs(ctx, slog.LevelInfo, "ended", append(attrs, slog.String("outcome", outcome))...)
	}
	numbers := call.Numbers()
	if len(numbers) == 0 {
		return
	}
	if p.emf == nil {
		call.Log.LogAttrs(ctx, slog.LevelInfo, "vitals", append(subjectOf(call), slog.String("stage", stageOf(p.stage)), slog.Attr{Key: "vitals", Value: slog.GroupValue(vitals.Fields(numbers)...)})...)
		return
	}
	properties := map[string]string{"function": name}
	for _, a := range append(subjectOf(call), slog.String("request_id", id)) {
		if v := bounded(a).Value.String(); v != "" {
			properties[a.Key] = v
		}
	}
	lines, err := vitals.EMF(now, stageOf(p.stage), properties, numbers)
	if err != nil {
		call.Log.LogAttrs(ctx, slog.LevelError, "the vitals are lost", slog.Any("error", err))
	}
	for _, line := range lines {
		_, _ = p.emf.Write(append(line, '\n')) // whoever cannot write has nobody to tell
	}
}

// stageOf is the value of the metrics' dimension, which must be printable ASCII.
func stageOf(stage string) string {
	stage = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, stage)
	if stage == "" {
		return "default"
	}
	return stage[:min(len(stage), 64)]
}

// watchedHTTP is h with a log: what was asked for, never with what.
func (p platform) watchedHTTP(name string, h http.Handler) http.Handler {
	log := p.logger()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := p.clock()
		log := log.With("function", name, "method", r.Method, "path", r.URL.Path)
		if id := cmp.Or(requestID(r.Context()), r.Header.Get("X-Cloud-Trace-Context")); id != "" {
			log = log.With("request_id", id)
		}
		log.Info("begun")
		answered := &statusOf{ResponseWriter: w}
		defer func() {
			log.Info("ended", "status", answered.status, "duration_ms", p.clock().Sub(began).Milliseconds())
		}()
		h.ServeHTTP(answered, r)
	})
}

// statusOf remembers the status of an answer; 0 until there is one.
type statusOf struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *statusOf) WriteHeader(status int) {
	s.status = cmp.Or(s.status, status)
	s.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (s *statusOf) Write(b []byte) (int, error) {
	s.status = cmp.Or(s.status, http.StatusOK)
	return s.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (s *statusOf) Unwrap() http.ResponseWriter { return s.ResponseWriter }

type requestKey struct{}

// requestID is the platform's own name of a call; "" if it has none.
func requestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// Lines takes plain lines (of the trigger) and makes log lines of them where a function is
// deployed; at a terminal they stay what they are.
func Lines(name string) io.Writer {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" && os.Getenv("FUNCTION_TARGET") == "" && os.Getenv("K_SERVICE") == "" {
		return os.Stderr
	}
	return liner{deployedOn().logger().With("function", name)}
}

type liner struct{ log *slog.Logger }

// Write takes whole lines.
func (l liner) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l.log.Warn(string(bytes.TrimRight(line, "\r\n")))
	}
	return len(p), nil
}
