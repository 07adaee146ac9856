//go:build amd64 || arm64

package cli

// entry is the entry point of the static binaries built by the Makefile (linker option -E). With
// too little memory, the Go runtime dies before any Go code runs, with a trace and the exit code
// for a wrong command line. So entry checks the limits first. If they are too low, it prints a
// message and exits with 3. It also records whether standard output is closed: the runtime opens
// /dev/null in its place, which looks the same as a /dev/null that the caller opened.
func entry()

// stdoutClosed means that the process started without a standard output.
var stdoutClosed bool

var _ = entry
