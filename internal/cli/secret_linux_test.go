package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// A typing writer types as soon as it gets a question.
type typing struct {
	bytes.Buffer
	then func()
}

func (w *typing) Write(p []byte) (int, error) {
	if w.Len() == 0 {
		defer w.then()
	}
	return w.Buffer.Write(p)
}

// The answer is returned without its newline, and echo is on again afterwards.
func TestSecret(t *testing.T) {
	terminal, keyboard := openTerminal(t)
	stderr := &typing{then: func() { io.WriteString(keyboard, "correct horse\n") }}
	e := &Env{Context: t.Context(), Stdin: terminal, Stderr: stderr}
	got, err := e.Secret("Passphrase: ")
	if err != nil || string(got) != "correct horse" || stderr.String() != "Passphrase: \n" || !echoes(t, terminal) {
		t.Errorf("%q, %v, asked %q", got, err, stderr)
	}
}

// An interrupt ends the wait and restores the terminal.
func TestSecretInterrupted(t *testing.T) {
	terminal, _ := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	e := &Env{Context: ctx, Stdin: terminal, Stderr: &typing{then: func() {
		go func() {
			for echoes(t, terminal) {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
	}}}
	if _, err := e.Secret("Passphrase: "); !errors.Is(err, context.Canceled) || !echoes(t, terminal) {
		t.Errorf("%v, echo %v", err, echoes(t, terminal))
	}
}

// Nothing is asked without a terminal or with -q.
func TestSecretNoTerminal(t *testing.T) {
	terminal, _ := openTerminal(t)
	for name, e := range map[string]*Env{
		"a reader": {Context: t.Context(), Stdin: &bytes.Buffer{}, Stderr: &bytes.Buffer{}},
		"quiet":    {Context: t.Context(), Stdin: terminal, Stderr: io.Discard},
	} {
		if _, err := e.Secret("Passphrase: "); !errors.Is(err, ErrNoTerminal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
