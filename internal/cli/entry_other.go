//go:build !linux || (!amd64 && !arm64)

package cli

// stdoutClosed is known on other systems and processors only.
const stdoutClosed = false
