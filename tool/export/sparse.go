package export

import (
	"bytes"

	"thinpool/metadata/block"
)

// A SparseFile is a [File] in which blocks that are all zero become holes, wherever they come from: for
// volumes that say of no part that it has never been written.
type SparseFile struct{ *File }

// WriteAt implements [Target].
func (t SparseFile) WriteAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n, zero := stretch(p[done:], off+int64(done))
		var err error
		if zero {
			err = t.Zero(off+int64(done), int64(n))
		} else {
			_, err = t.File.WriteAt(p[done:][:n], off+int64(done))
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

// Zero implements [Target]. What was written before an interruption may have been something else.
func (t SparseFile) Zero(off, n int64) error {
	if t.fresh {
		return nil
	}
	return (&FullCopy{*t.File}).Zero(off, n)
}

// stretch is how many of the first bytes of p, which lies at off, are alike: blocks of zeros, or not.
// Parts of a block of the file are never zeros.
func stretch(p []byte, off int64) (n int, zero bool) {
	for n < len(p) {
		end := min(n+block.Size-int((off+int64(n))%block.Size), len(p))
		is := end-n == block.Size && bytes.Equal(p[n:end], zeros[:block.Size])
		switch {
		case n == 0:
			zero = is
		case zero != is:
			return n, zero
		}
		n = end
	}
	return n, zero
}
