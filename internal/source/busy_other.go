//go:build !linux

package source

// deviceNumber is only supported on Linux.
func deviceNumber(string) (string, bool) { return "", false }

// lockers is only supported on Linux.
func lockers(string) []string { return nil }
