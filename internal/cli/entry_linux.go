//go:build amd64 || arm64

package cli

// entry is where the static binaries of the Makefile begin (-E of the linker). With too little
// memory the Go runtime dies before any Go code runs, with a trace and the exit code of a wrong
// command line. So entry looks at the limits first; if they are too low it says so and exits
// with 1.
func entry()

var _ = entry
