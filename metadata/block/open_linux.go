package block

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openFile opens path. For a block device O_EXCL claims it (EBUSY if somebody
// else has) and O_DIRECT goes past the page cache; a device or system that
// lacks O_DIRECT answers EINVAL and is opened without.
func openFile(path string, opt Options, isDevice bool) (*os.File, error) {
	flags := os.O_RDONLY
	if opt.Write {
		flags = os.O_RDWR
	}
	if isDevice && !opt.Shared {
		flags |= unix.O_EXCL
	}
	if isDevice {
		if f, err := os.OpenFile(path, flags|unix.O_DIRECT, 0); !errors.Is(err, unix.EINVAL) {
			return f, busy(path, err)
		}
	}
	f, err := os.OpenFile(path, flags, 0)
	return f, busy(path, err)
}

// Advise makes the system read n bytes from off on ahead, into its cache.
func (d *file) Advise(off, n int64) {
	_ = unix.Fadvise(int(d.f.Fd()), off, n, unix.FADV_WILLNEED)
}

func busy(path string, err error) error {
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: %w", path, ErrBusy)
	}
	return err
}

// lock locks all of a file for writing: ErrBusy if somebody else has locked a part of it. The
// lock is that of the open file, and ends with it.
func lock(f *os.File) error {
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrBusy
	}
	return nil // not every file system has locks
}
