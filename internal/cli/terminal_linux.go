package cli

import (
	"cmp"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether w is a terminal: unlike /dev/null it has settings.
func isTerminal(w io.Writer) bool {
	return control(w, func(fd int) error {
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	}) == nil
}

// terminalWidth returns how many columns a terminal has; 0 if it does not say.
func terminalWidth(w io.Writer) (columns int) {
	_ = control(w, func(fd int) error {
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			columns = int(size.Col)
		}
		return err
	})
	return columns
}

// control calls f with the descriptor of w, if that is a file.
func control(w io.Writer, f func(fd int) error) error {
	file, ok := w.(*os.File)
	if !ok {
		return os.ErrInvalid
	}
	conn, err := file.SyscallConn() // Fd would make the file block
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = f(int(fd)) })
	return cmp.Or(err, failed)
}
