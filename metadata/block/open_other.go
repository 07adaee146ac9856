//go:build !linux

package block

import "os"

// openFile opens path. Exclusive and direct opens only exist on Linux.
func openFile(path string, opt Options, _ bool) (*os.File, error) {
	flags := os.O_RDONLY
	if opt.Write {
		flags = os.O_RDWR
	}
	return os.OpenFile(path, flags, 0)
}

// lock does nothing: locks are only used on Linux.
func lock(*os.File, bool) error { return nil }
