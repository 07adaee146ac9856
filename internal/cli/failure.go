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

// printsLines reports whether the options select JSON lines on standard output.
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

// wholeLines passes on complete lines only: a partial line of a command that fails must not garble
// the error line that follows.
type wholeLines struct {
	w    io.Writer
	rest []byte // the incomplete line
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

// end ends the output. It adds a line for err unless err has been reported.
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
	// If this write fails, standard error and the exit code remain.
	_ = json.NewEncoder(printable.NewWriter(l.w)).Encode(errorRecord{"error", strings.Join(messages, "\n"), code})
}
