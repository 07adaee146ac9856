package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal opens a new terminal and the side that sees its output.
func openTerminal(t *testing.T) (terminal, seen *os.File) {
	t.Helper()
	seen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { seen.Close() })
	if err := unix.IoctlSetPointerInt(int(seen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip(err)
	}
	n, err := unix.IoctlGetInt(int(seen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, seen
}

// On a terminal, even products are escaped.
func TestProductOnTerminal(t *testing.T) {
	terminal, seen := openTerminal(t)
	code, stderr := run(t.Context(), terminal, "", func(env *Env) error {
		_, err := io.WriteString(env.Product, "a "+hostile+" end")
		return err
	})
	p := make([]byte, 1000)
	n, err := seen.Read(p)
	if got := strings.TrimSpace(string(p[:n])); err != nil || code != 0 || got != "a "+escaped+" end" {
		t.Errorf("exit code %d, %q, the terminal shows %q (%v)", code, stderr, got, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) || isTerminal(io.Discard) || !isTerminal(terminal) {
		t.Error("not told apart from a terminal")
	}
}

// The help is as wide as the terminal, within limits, unless COLUMNS is set.
func TestHelpWidthOfTerminal(t *testing.T) {
	terminal, _ := openTerminal(t)
	for _, c := range []struct {
		terminal uint16
		columns  string
		want     int
	}{
		{100, "", 100},
		{100, "90", 90},
		{100, "no number", 100},
		{100, "-1", 100},
		{0, "", 80}, // unknown
		{20, "", 60},
		{500, "", 120},
	} {
		t.Setenv("COLUMNS", c.columns)
		if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: c.terminal}); err != nil {
			t.Fatal(err)
		}
		if got := helpWidth(terminal); got != c.want {
			t.Errorf("a terminal of %d, COLUMNS=%q: %d columns, want %d", c.terminal, c.columns, got, c.want)
		}
	}
}
