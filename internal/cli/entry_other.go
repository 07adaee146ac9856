//go:build !linux || (!amd64 && !arm64)

package cli

// stdoutClosed is known only on Linux on amd64 and arm64.
const stdoutClosed = false
