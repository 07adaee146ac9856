package block

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openFile opens path. For a block device, O_EXCL claims it (EBUSY if it is already claimed) and
// O_DIRECT bypasses the page cache. Devices or systems without O_DIRECT return EINVAL and are
// opened without it.
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

// Advise asks the system to read n bytes from off on into its cache.
func (d *file) Advise(off, n int64) {
	_ = unix.Fadvise(int(d.f.Fd()), off, n, unix.FADV_WILLNEED)
}

func busy(path string, err error) error {
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: %w", path, ErrBusy)
	}
	return err
}

// lock locks all of f, for writing or to keep writers away. The lock belongs to the open file and
// ends with it. Not every file system has locks.
func lock(f *os.File, write bool) error {
	all := unix.Flock_t{Type: unix.F_WRLCK}
	if !write {
		// A shared lock alone would not conflict with the shared locks of others.
		if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &all); err == nil && all.Type != unix.F_UNLCK {
			return ErrLocked
		}
		all = unix.Flock_t{Type: unix.F_RDLCK}
	}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &all)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return ErrLocked
	}
	return nil
}
