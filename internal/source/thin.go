package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/dm"
	"thinpool/metadata/block"
)

// A Thin is an active thin device, and its pool.
type Thin struct {
	Path     string
	ID       uint64
	Size     int64 // in bytes
	Pool     string
	Metadata string // paths of the pool's metadata and data
	Data     string
	Origin   string // path of the external origin; "" for none
	Snapshot block.Nr

	number, pool dm.Number
	from         mapper
}

// Errors of [FindThin].
var (
	ErrNotThin  = errors.New("not an active thin device; thin_export copies thin devices of pools that are not active")
	ErrWritable = errors.New("the device is writable, so it may change while it is copied")
)

// A mapper asks the kernel about devices.
type mapper struct {
	sysfs
	table, status func(dm.Number) ([]dm.Target, error)
}

var kernel = mapper{sys, dm.Table, dm.Status}

// FindThin describes the thin device at path, its pool and its origin. The device must be read-only, and
// the pool must have a metadata snapshot.
func FindThin(path string) (*Thin, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	t, err := kernel.thin(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func (m mapper) thin(path string) (*Thin, error) {
	t := &Thin{Path: path, from: m}
	text, ok := m.number(path)
	if !ok {
		return nil, ErrNotThin
	}
	var err error
	if t.number, err = dm.ParseNumber(text); err != nil {
		return nil, err
	}
	params, length, err := m.only(t.number, "thin", m.table)
	if err != nil {
		return nil, err
	}
	t.Size = length * cli.SectorSize
	if len(params) < 2 {
		return nil, fmt.Errorf("%w: its table is %q", ErrNotThin, params)
	}
	if t.ID, err = strconv.ParseUint(params[1], 10, 64); err != nil {
		return nil, err
	}
	if len(params) > 2 {
		if _, t.Origin, err = m.device(params[2]); err != nil {
			return nil, err
		}
	}
	if err := t.CheckReadOnly(); err != nil {
		return nil, err
	}
	return t, t.findPool(params[0])
}

// CheckReadOnly returns an error that wraps [ErrWritable] if the device is writable.
func (t *Thin) CheckReadOnly() error {
	if attribute(t.from.folder(t.number), "ro") == "1" {
		return nil
	}
	return fmt.Errorf("%w. Make it read-only, or make a read-only snapshot of it and copy that. With LVM:\n  lvchange --permission r VG/LV", ErrWritable)
}

// findPool finds the metadata and data devices of the pool, and its metadata snapshot.
func (t *Thin) findPool(number string) error {
	m := t.from
	pool, path, err := m.device(number)
	if err != nil {
		return err
	}
	t.Pool = strings.TrimPrefix(path, "/dev/mapper/")
	params, _, err := m.only(pool, "thin-pool", m.table)
	if err != nil {
		return fmt.Errorf("the pool %s: %w", t.Pool, err)
	}
	if len(params) < 2 {
		return fmt.Errorf("the pool %s: its table is %q", t.Pool, params)
	}
	if _, t.Metadata, err = m.device(params[0]); err == nil {
		_, t.Data, err = m.device(params[1])
	}
	if err != nil {
		return err
	}
	t.pool = pool
	return t.Commit()
}

// Commit makes the pool commit its metadata, and finds its metadata snapshot.
func (t *Thin) Commit() error {
	status, _, err := t.from.only(t.pool, "thin-pool", t.from.status)
	switch {
	case err != nil:
		return fmt.Errorf("the pool %s: %w", t.Pool, err)
	case len(status) < 4: // Fail, Error
		return fmt.Errorf("the pool %s does not work: its status is %q. Deactivate it, and run thin_check on its metadata", t.Pool, strings.Join(status, " "))
	case status[3] == "-":
		return fmt.Errorf("the pool %s has no metadata snapshot. Reserve one, and release it afterwards:%s\n  (this command again)%s", t.Pool, message(t.Pool, reserve), message(t.Pool, release))
	}
	nr, err := strconv.ParseUint(status[3], 10, 64)
	t.Snapshot = block.Nr(nr)
	return err
}

// Renewal returns advice for a metadata snapshot that is too old.
func (t *Thin) Renewal() string {
	return message(t.Pool, release) + message(t.Pool, reserve) + "\n  (this command again)"
}

// Uses reports whether path leads to the device, its origin, or the pool's metadata or data.
func (t *Thin) Uses(path string) bool {
	number, ok := t.from.number(path)
	for _, used := range []string{t.Path, t.Metadata, t.Data, t.Origin} {
		if is, known := t.from.number(used); ok && known && is == number {
			return true
		}
	}
	return false
}

// only returns the parameters and length of a device that has a single target of type kind.
func (m mapper) only(n dm.Number, kind string, ask func(dm.Number) ([]dm.Target, error)) ([]string, int64, error) {
	targets, err := ask(n)
	switch {
	case errors.Is(err, dm.ErrNotMapped):
		return nil, 0, ErrNotThin
	case err != nil:
		return nil, 0, err
	case len(targets) != 1 || targets[0].Type != kind:
		var kinds []string
		for _, t := range targets {
			kinds = append(kinds, t.Type)
		}
		return nil, 0, fmt.Errorf("%w: it consists of %q", ErrNotThin, kinds)
	}
	return strings.Fields(targets[0].Params), int64(targets[0].Len), nil
}

// folder returns the sysfs folder of a device; "" if there is none.
func (m mapper) folder(n dm.Number) string {
	dir, err := filepath.EvalSymlinks(filepath.Join(m.root, "dev", "block", n.String()))
	if err != nil {
		return ""
	}
	return dir
}

// device returns the number and the path of a device named in a table.
func (m mapper) device(text string) (dm.Number, string, error) {
	n, err := dm.ParseNumber(text)
	if err != nil {
		return n, "", err
	}
	dir := m.folder(n)
	if dir == "" {
		return n, "", fmt.Errorf("there is no device %v in %s", n, m.root)
	}
	return n, devicePath(dir), nil
}
