//go:build !linux

package source

// deviceNumber knows block devices on Linux only.
func deviceNumber(string) (string, bool) { return "", false }

// lockers knows processes on Linux only.
func lockers(string) []string { return nil }
