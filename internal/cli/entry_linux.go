//go:build amd64 || arm64

package cli

// entry is where the static binaries of the Makefile begin (-E of the linker). With too little
// memory the Go runtime dies before any Go code runs, with a trace and the exit code of a wrong
// command line. So entry looks at the limits first; if they are too low it says so and exits
// with 3. It also notes if standard output is closed: the runtime opens /dev/null in its place,
// which could not be told from a /dev/null that somebody else has opened.
func entry()

// stdoutClosed says that the process began without a standard output.
var stdoutClosed bool

var _ = entry
