package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// ErrNoTerminal means that there is no terminal to ask on.
var ErrNoTerminal = errors.New("standard input is not a terminal")

// Secret asks a question on standard error and reads the answer without echo. It returns
// [ErrNoTerminal] if there is no terminal, or with -q.
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
	if e.Err() != nil { // interrupted: turn echo back on
		return nil, errors.Join(e.Err(), term.Restore(fd, before))
	}
	return secret, err
}
