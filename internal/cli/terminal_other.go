//go:build !linux

package cli

import (
	"io"
	"os"
)

// isTerminal reports whether w may be a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// terminalWidth returns 0: the width is unknown.
func terminalWidth(io.Writer) int { return 0 }
