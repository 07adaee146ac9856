//go:build !linux

package newfile

import "os"

// createUnnamed is for Linux.
func createUnnamed(string, os.FileMode) (*os.File, bool) { return nil, false }

// link is for unnamed files.
func link(*os.File, string) error { return os.ErrInvalid }

// renameNew renames a file to a name that is not there yet.
func renameNew(from, to string) error { return linkAndRemove(from, to) }
