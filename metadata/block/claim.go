package block

import (
	"errors"
	"os"
)

// A Claimed device is open for reading, and may be written later: nothing else can write to
// it in between. A block device is opened exclusively, a regular file locked.
type Claimed struct {
	file
	path     string
	isDevice bool
	writable *os.File // a regular file that is open for writing already
}

// Claim opens the regular file or block device at path. A block device is opened for reading
// only, as some systems look at what is on a device whenever it was open for writing. A file
// that cannot be opened for writing is only read, too, until AllowWriting says why.
func Claim(path string) (*Claimed, error) {
	f, isDevice, err := openBlocks(path, Options{})
	if err != nil {
		return nil, err
	}
	c := &Claimed{path: path, isDevice: isDevice}
	if !isDevice {
		if f, c.writable, err = lockForWriting(f, path); err != nil {
			return nil, err
		}
	}
	size, err := sizeOf(f)
	if err != nil {
		return nil, err
	}
	c.file = file{f: f, size: size}
	return c, nil
}

// lockForWriting locks the regular file at path, which is open as f. If it may be written
// both results are that file, open for writing.
func lockForWriting(f *os.File, path string) (opened, writable *os.File, err error) {
	lock := LockShared
	if w, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		f.Close()
		f, writable, lock = w, w, Lock
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, writable, nil
}

// AllowWriting makes writing possible.
func (c *Claimed) AllowWriting() error {
	if c.w != nil {
		return nil
	}
	if c.w = c.writable; c.w == nil {
		w, err := openFile(c.path, Options{Write: true, Shared: true}, c.isDevice)
		if err != nil {
			return err
		}
		c.w = w
	}
	return nil
}

// Close closes the device.
func (c *Claimed) Close() error {
	err := c.f.Close()
	if c.w != nil && c.w != c.f {
		err = errors.Join(err, c.w.Close())
	}
	return err
}
