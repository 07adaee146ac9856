package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	qcow2image "github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
	"github.com/lima-vm/go-qcow2reader/image/raw"

	"thinpool/internal/printable"
)

// A BackingError means that an image's backing file was not opened: an untrusted image may name any
// file. Options.Backing allows it. The error wraps [fs.ErrNotExist] if the file does not exist.
type BackingError struct {
	Image string // the image that names the file
	Name  string // as written in the image
	Path  string // path of the file
	Err   error  // why it was not opened
}

func (e *BackingError) Error() string {
	return fmt.Sprintf("qcow2: %s has the backing file %s, which was not opened: %v", printable.Text(e.Image), printable.Text(e.Name), e.Err)
}

// Unwrap returns why the file was not opened.
func (e *BackingError) Unwrap() error { return e.Err }

// A backingChain opens backing files, each named by the image above it.
type backingChain struct {
	allowed []string // may be opened anywhere
	opened  []string
}

// openBelow opens the backing file of an image in the format declared in the image. Like QEMU, it
// detects the format if none is declared. A declared format counts, whatever the file looks like: a
// guest can write anything to its raw disk.
func (c *backingChain) openBelow(image string, h *qcow2Header) (qcow2image.Image, error) {
	if len(c.opened) == qcowMostBacking {
		return nil, fmt.Errorf("qcow2: more than %d backing files in a chain", qcowMostBacking)
	}
	f, path, err := c.openFile(image, h.backing)
	if err != nil {
		return nil, err
	}
	c.opened = append(c.opened, path)
	format := h.format
	if format == "" {
		if format, err = sniff(f, path); err != nil {
			return nil, errors.Join(fmt.Errorf("qcow2: %s: %w", printable.Text(path), err), f.Close())
		}
	}
	switch format {
	case rawFormat:
		return raw.Open(f)
	case qcow2.Type:
		return c.open(f, path)
	}
	err = fmt.Errorf("qcow2: %s says that %s is in %q format, which is not supported: %s", printable.Text(image), printable.Text(path), format, convert)
	return nil, errors.Join(err, f.Close())
}

// openFile opens a backing file by the name in an image, and returns its path. It must be in the
// folder of the image, unless the caller allows it.
func (c *backingChain) openFile(image, name string) (*os.File, string, error) {
	if protocol, _, ok := strings.Cut(name, ":"); ok && !strings.Contains(protocol, "/") {
		return nil, "", fmt.Errorf("qcow2: %s has the backing file %s, which is not a file name: %s", printable.Text(image), printable.Text(name), convert)
	}
	folder, err := realFolder(image)
	if err != nil {
		return nil, "", fmt.Errorf("qcow2: %w", err)
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	if allowed := c.same(path); allowed != "" {
		return openAllowed(allowed)
	}
	f, real, err := openBeside(folder, path)
	if err == nil {
		return f, real, nil
	}
	// A moved image still has the old path of its backing file.
	for _, allowed := range c.allowed {
		if filepath.Base(allowed) == filepath.Base(name) {
			return openAllowed(allowed)
		}
	}
	return nil, "", &BackingError{image, name, path, err}
}

// same returns the allowed file that is identical to the one at path; empty if there is none.
func (c *backingChain) same(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	for _, allowed := range c.allowed {
		if other, err := os.Stat(allowed); err == nil && os.SameFile(info, other) {
			return allowed
		}
	}
	return ""
}

// realFolder returns the folder of a file, without symbolic links.
func realFolder(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	return filepath.Dir(path), err
}

// withoutWaiting opens a named pipe without waiting, so that it can be recognised as one.
const withoutWaiting = os.O_RDONLY | syscall.O_NONBLOCK

// openBeside opens a regular file in folder, whose path has no symbolic links. It looks the file up
// in the open folder, so that it opens nothing else if somebody replaces the file with a link.
func openBeside(folder, path string) (*os.File, string, error) {
	real, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", fs.ErrNotExist
	case err != nil:
		return nil, "", err
	case filepath.Dir(real) != folder:
		return nil, "", errors.New("it is not in the same directory as the image")
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	info, err := root.Lstat(filepath.Base(real))
	switch {
	case err != nil:
		return nil, "", err
	case !info.Mode().IsRegular():
		return nil, "", errors.New("it is not a regular file")
	}
	f, err := root.OpenFile(filepath.Base(real), withoutWaiting, 0)
	if err != nil {
		return nil, "", err
	}
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return nil, "", errors.Join(errors.New("it was replaced by another file"), err, f.Close())
	}
	return f, real, nil
}

// openAllowed opens a file or block device named by the caller.
func openAllowed(path string) (*os.File, string, error) {
	f, err := os.OpenFile(path, withoutWaiting, 0)
	if err != nil {
		return nil, "", fmt.Errorf("qcow2: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode().Type() != os.ModeDevice {
		err = fmt.Errorf("qcow2: %s is neither a regular file nor a block device", path)
	}
	if err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, path, nil
}
