package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"thinpool/internal/printable"
)

// printsLines reports whether the options of a command make standard output lines of JSON.
func printsLines(node *kong.Node) bool {
	value := func(name string) string {
		for _, f := range node.Flags {
			if f.Name == name && f.Target.Kind() == reflect.String {
				return f.Target.String()
			}
		}
		return ""
	}
	return value("format") == "json" && value("compress") == ""
}

// wholeLines passes lines on when they are complete: what a command that fails was about to
// write must not spoil the line that says so.
type wholeLines struct {
	w    io.Writer
	rest []byte // the line that is not complete
}

func (l *wholeLines) Write(p []byte) (int, error) {
	end := bytes.LastIndexByte(p, '\n') + 1
	if end > 0 && len(l.rest) > 0 {
		if _, err := l.w.Write(l.rest); err != nil {
			return 0, err
		}
		l.rest = l.rest[:0]
	}
	if end > 0 {
		if _, err := l.w.Write(p[:end]); err != nil {
			return 0, err
		}
	}
	l.rest = append(l.rest, p[end:]...)
	return len(p), nil
}

// errorRecord is the last line of a command that failed.
type errorRecord struct {
	Type     string `json:"type"` // "error"
	Message  string `json:"message"`
	ExitCode int    `json:"exit_code"`
}

// end ends the output: with what err says, if that has not been said otherwise.
func (l *wholeLines) end(err error, code int) {
	var messages []string
	for _, err := range unjoin(err) {
		if err != nil && !errors.Is(err, errPipeClosed) && !errors.Is(err, ErrReported) {
			messages = append(messages, strings.TrimSuffix(err.Error(), "\n"))
		}
	}
	if len(messages) == 0 {
		_, _ = l.w.Write(l.rest)
		return
	}
	// If it cannot be written, standard error and the exit code remain.
	_ = json.NewEncoder(printable.NewWriter(l.w)).Encode(errorRecord{"error", strings.Join(messages, "\n"), code})
}
