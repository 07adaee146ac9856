//go:build !linux

package trim

import (
	"errors"
	"os"
)

var errOnlyLinux = errors.New("discarding works on Linux only")

func openData(string, bool) (*os.File, error) { return nil, errOnlyLinux }

// Discard implements [Data].
func (d *dataFile) Discard(int64, int64) error { return errOnlyLinux }
