package cli

import (
	"cmp"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether w is a terminal. Unlike /dev/null, a terminal has settings.
func isTerminal(w io.Writer) bool {
	return control(w, func(fd int) error {
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	}) == nil
}

// terminalWidth returns the number of columns of a terminal; 0 if unknown.
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

// control calls f with the descriptor of w, if w is a file.
func control(w io.Writer, f func(fd int) error) error {
	file, ok := w.(*os.File)
	if !ok {
		return os.ErrInvalid
	}
	conn, err := file.SyscallConn() // Fd would put the file into blocking mode
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) { failed = f(int(fd)) })
	return cmp.Or(err, failed)
}
