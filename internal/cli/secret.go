package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal says that there is no terminal to ask at.
var ErrNoTerminal = errors.New("standard input is not a terminal")

// Secret asks for something on standard error, and takes what is typed without showing it. The error
// is [ErrNoTerminal] where there is none, or where nothing may be said.
func (e *Env) Secret(question string) ([]byte, error) {
	f, ok := e.Stdin.(*os.File)
	if !ok || e.Stderr == io.Discard || !term.IsTerminal(int(f.Fd())) {
		return nil, ErrNoTerminal
	}
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprint(e.Stderr, question); err != nil {
		return nil, err
	}
	secret, err := await(e, func() ([]byte, error) { return term.ReadPassword(fd) })
	fmt.Fprintln(e.Stderr)
	if e.Err() != nil { // nothing was typed: what is typed next has to be shown again
		return nil, errors.Join(e.Err(), term.Restore(fd, before))
	}
	return secret, err
}
