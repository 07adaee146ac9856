package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"thinpool/metadata/block"
)

// A piece is one file of a split image. It may end anywhere, even within a sector.
type piece struct {
	name        string
	start, size int64
	r           io.ReaderAt // nil: missing
}

// pieces are the files of a split image, in order.
type pieces []piece

func (ps pieces) size() int64 { last := ps[len(ps)-1]; return last.start + last.size }

// ReadAt implements [io.ReaderAt].
func (ps pieces) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= ps.size() {
		return 0, io.EOF
	}
	i, ok := slices.BinarySearchFunc(ps, off, func(x piece, off int64) int {
		switch {
		case x.start+x.size <= off:
			return -1
		case x.start > off:
			return 1
		}
		return 0
	})
	done := 0
	for ; ok && i < len(ps) && done < len(p); i++ {
		x := ps[i]
		at := off + int64(done) - x.start
		want := int(min(int64(len(p)-done), x.size-at))
		if x.r == nil {
			return done, fmt.Errorf("%s is missing: it has bytes %d..%d", x.name, x.start, x.start+x.size-1)
		}
		n, err := x.r.ReadAt(p[done:done+want], at)
		if done += n; n < want {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return done, fmt.Errorf("%s: %w", x.name, err)
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// openParts opens the files of a split image. A missing part that is only known by name counts as
// long as the first.
func openParts(paths []string, opt Options) (*Disk, error) {
	var ps pieces
	var files []io.Closer
	at := int64(0)
	for i, path := range paths {
		dev, err := block.Open(path, block.Options{Shared: opt.Shared})
		x := piece{name: path, start: at}
		switch {
		case err == nil:
			files = append(files, dev)
			x.r, x.size = anyBytes(path, dev), dev.Size()
		case i > 0 && opt.Parts == nil && errors.Is(err, os.ErrNotExist):
			x.size = ps[0].size
		default:
			return nil, errors.Join(err, closeAll(files))
		}
		ps, at = append(ps, x), at+x.size
	}
	d := &Disk{Name: paths[0], Format: rawFormat, Parts: paths[1:], size: ps.size(), r: ps, file: &file{close: func() error { return closeAll(files) }}}
	d.fixed = fmt.Errorf("%s is split into %d files, so it is read-only: to write, join them first (cat)", d.Name, len(paths))
	return d, nil
}

// Sisters returns the files that follow path if it is the first part of a split image, by name:
// disk.001 and disk.002, disk.00 and disk.01, disk.aa and disk.ab. Missing parts in between are
// included.
func Sisters(path string) []string {
	first := filepath.Ext(path)
	if !isFirst(first) {
		return nil
	}
	base := strings.TrimSuffix(path, first)
	there, err := filepath.Glob(globQuoted(base) + "." + strings.Repeat("?", len(first)-1))
	if err != nil {
		return nil
	}
	var sisters, all []string
	for suffix, ok := next(first); ok && len(all) < mostParts; suffix, ok = next(suffix) {
		all = append(all, base+suffix)
		if slices.Contains(there, base+suffix) {
			sisters = all
		}
		if len(all) > len(sisters)+mostMissing {
			break
		}
	}
	return slices.Clip(sisters)
}

// Limits on what counts as parts.
const (
	mostParts   = 10000
	mostMissing = 100 // in a row
)

// globQuoted escapes a name for use in a pattern.
func globQuoted(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// isFirst reports whether a file with this extension may be the first part.
func isFirst(ext string) bool {
	if len(ext) < 3 {
		return false
	}
	digits := strings.Trim(ext[1:len(ext)-1], "0") == "" && (ext[len(ext)-1] == '0' || ext[len(ext)-1] == '1')
	return digits || strings.Trim(ext[1:], "a") == ""
}

// next returns the extension that follows ext. It returns false after the last one of that length.
func next(ext string) (string, bool) {
	b := []byte(ext)
	for i := len(b) - 1; i > 0; i-- {
		switch b[i] {
		case '9':
			b[i] = '0'
		case 'z':
			b[i] = 'a'
		default:
			b[i]++
			return string(b), true
		}
	}
	return "", false
}
