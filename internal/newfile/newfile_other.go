//go:build !linux

package newfile

import "os"

// createUnnamed is only supported on Linux.
func createUnnamed(string, os.FileMode) (*os.File, bool) { return nil, false }

// link is only needed for unnamed files.
func link(*os.File, string) error { return os.ErrInvalid }

// renameNew renames a file to a name that must not exist.
func renameNew(from, to string) error { return linkAndRemove(from, to) }
