package cli

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Confirm asks a question on standard error and reports whether the answer is yes. With -q the
// answer is no.
func (e *Env) Confirm(question string) (bool, error) {
	if e.Stderr == io.Discard {
		return false, nil
	}
	if _, err := fmt.Fprint(e.Stderr, question); err != nil {
		return false, err
	}
	const most = 256
	in := bufio.NewReader(io.LimitReader(&patientReader{ctx: e, r: e.Stdin, buf: make([]byte, most)}, most))
	answer, err := in.ReadString('\n')
	if err != nil && err != io.EOF {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
