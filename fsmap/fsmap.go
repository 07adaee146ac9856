// Package fsmap, whose API may change, says which files of a file system lie in given bytes of the volume that
// holds it. It reads only metadata: superblock, inodes, extents, directories.
//
// [Find] recognises the file system and goes through all of its inodes once. Whatever lies in a
// range becomes a [Piece]. Directories are read afterwards, when it is known which inodes need a name. Metadata
// that cannot be read is a [Problem], and the search continues without it.
//
// Each file system is one file of this package. None of them trusts what it reads: a
// search reads no more blocks than the volume has, trees have a greatest depth, and nothing is allocated
// because a header asks for it.
package fsmap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Range is bytes of a volume.
type Range struct{ Begin, Len int64 }

// End is the first byte after r.
func (r Range) End() int64 { return r.Begin + r.Len }

func (r Range) String() string { return fmt.Sprintf("bytes %d..%d", r.Begin, r.End()-1) }

// A Kind says what something on a volume is.
type Kind string

// The kinds. Not every file system has all of them.
const (
	Data                Kind = "data"
	Unwritten           Kind = "unwritten" // allocated to a file, never written, reads as zeros
	Directory           Kind = "directory"
	Symlink             Kind = "symlink"
	Attributes          Kind = "attributes"
	Inode               Kind = "inode"
	ExtentTree          Kind = "extent tree" // of one file; also indirect blocks
	InodeTable          Kind = "inode table"
	InodeTree           Kind = "inode tree"
	InodeBitmap         Kind = "inode bitmap"
	BlockBitmap         Kind = "block bitmap"
	FreeSpaceTree       Kind = "free space tree"
	ReverseMapTree      Kind = "reverse map tree"
	ReferenceTree       Kind = "reference tree"
	FreeList            Kind = "free list"
	Superblock          Kind = "superblock" // XFS: with the other headers of the allocation group
	Descriptors         Kind = "descriptors"
	ReservedDescriptors Kind = "reserved descriptors"
	Journal             Kind = "journal"
	Quota               Kind = "quota"
	Other               Kind = "other"   // metadata of another kind
	Free                Kind = "free"    // nothing lies there
	Unknown             Kind = "unknown" // metadata is missing that could tell
)

// NoOffset is the offset of what is not the content of a file.
const NoOffset = -1

// A Piece is something that lies in a range.
type Piece struct {
	Range
	Kind   Kind
	Inode  uint64 // 0: it does not belong to one
	Offset int64  // in the file, in bytes; NoOffset if it is not content
	Group  int    // block group or allocation group of metadata without inode; otherwise -1
	// Paths are all names of the inode that are known, sorted. A path begins with <N> where the name of
	// directory N is not known.
	Paths []string
}

// A Problem is metadata that is missing, so that files may be missing in the result.
type Problem struct {
	Range
	Text string
	// The inodes that may be unknown; Last is 0 if it cannot be said.
	First, Last uint64
}

// An Unnamed is an inode in use to which no directory leads that could be read.
type Unnamed struct {
	Inode uint64
	Path  string // with <N> for itself or for the directory that was lost above it
}

// A Result is what lies in the ranges.
type Result struct {
	FileSystem string // "ext4"
	BlockSize  int64
	Pieces     []Piece // by their place on the volume
	Problems   []Problem
	Unnamed    []Unnamed // only if there are problems
	Notes      []string  // what a user should know besides
}

// Complete reports whether every range could be judged.
func (r *Result) Complete() bool { return len(r.Problems) == 0 }

// Options say how to search.
type Options struct {
	// Lost is bytes that are not read, because what is there is not what the file system wrote.
	Lost []Range
	// Progress, if not nil, is told how many inodes of how many were searched.
	Progress func(done, total uint64)
}

// Errors that [Find] returns, wrapped.
var (
	ErrUnknown     = errors.New("no file system was recognised (known are ext2, ext3, ext4, XFS and NTFS)")
	ErrUnsupported = errors.New("this file system cannot be searched")
	ErrDamaged     = errors.New("the file system is damaged")
)

// Find finds what lies in the ranges of a volume of size bytes. An error means that nothing can be said at all.
func Find(ctx context.Context, r io.ReaderAt, size int64, ranges []Range, opt Options) (*Result, error) {
	s := newSearch(ctx, r, size, ranges, opt)
	for _, fs := range []func(*search) (bool, error){findExt, findXFS, findNTFS} {
		if ok, err := fs(s); ok {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return nil, err
			}
			return s.finish(), nil
		}
	}
	return s.unrecognised()
}

// unrecognised is the end of a search in something else. Of a file system that is only known by name, the
// ranges can be listed.
func (s *search) unrecognised() (*Result, error) {
	head := make([]byte, min(s.size, sniffed))
	n, err := s.r.ReadAt(head, 0)
	if name := otherName(head[:n]); name != "" {
		s.result.FileSystem = name
		s.problem(Problem{Range: Range{0, s.size}, Text: name + " is not searched, so only the ranges are listed"})
		return s.finish(), nil
	}
	switch {
	case s.lost.any(0, 2048):
		err = fmt.Errorf("the beginning of the volume is lost, and no copy of a superblock was found: %w", ErrUnknown)
	case n > 2048 || err == nil || err == io.EOF:
		err = ErrUnknown
	default:
		err = fmt.Errorf("the beginning of the volume cannot be read: %w", err)
	}
	return nil, err
}

const sniffed = 0x10048

// foreign are file systems that are recognised, no more.
var foreign = []struct {
	name  string
	at    int
	magic string
}{
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"exFAT", 3, "EXFAT   "},
	{"FAT", 82, "FAT32   "},
	{"swap", 4086, "SWAPSPACE2"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
}

// otherName is the name of a file system that begins so and is not searched; empty: none is known.
func otherName(head []byte) string {
	for _, k := range foreign {
		if end := k.at + len(k.magic); end <= len(head) && string(head[k.at:end]) == k.magic {
			return k.name
		}
	}
	return ""
}

// ranges are sorted, and have gaps between them.
type ranges []Range

// newRanges sorts and joins.
func newRanges(all []Range, size int64) ranges {
	var rs ranges
	sorted := slices.SortedFunc(slices.Values(all), func(a, b Range) int { return cmp.Compare(a.Begin, b.Begin) })
	for _, r := range sorted {
		if r.Begin < 0 || r.Begin >= size || r.Len <= 0 {
			continue
		}
		r.Len = min(r.Len, size-r.Begin)
		if n := len(rs); n > 0 && r.Begin <= rs[n-1].End() {
			rs[n-1].Len = max(rs[n-1].End(), r.End()) - rs[n-1].Begin
			continue
		}
		rs = append(rs, r)
	}
	return rs
}

// in yields what of n bytes from begin on is in the ranges.
func (rs ranges) in(begin, n int64) func(yield func(Range) bool) {
	return func(yield func(Range) bool) {
		if n <= 0 {
			return
		}
		i, _ := slices.BinarySearchFunc(rs, begin, func(r Range, at int64) int {
			if r.End() <= at {
				return -1
			}
			return 1
		})
		for ; i < len(rs) && rs[i].Begin-begin < n; i++ {
			from := max(rs[i].Begin, begin)
			if !yield(Range{from, min(rs[i].End()-from, n-(from-begin))}) {
				return
			}
		}
	}
}

// any reports whether some of the bytes are in the ranges.
func (rs ranges) any(begin, n int64) bool {
	for range rs.in(begin, n) {
		return true
	}
	return false
}

// Recognise names the file system of a volume by its superblock at the beginning; empty: none is known.
func Recognise(r io.ReaderAt, size int64) string {
	head := make([]byte, sniffed)
	n, _ := r.ReadAt(head[:max(min(size, sniffed), 0)], 0)
	switch head = head[:n]; {
	case n >= 2048 && le.Uint16(head[1080:]) == 0xef53:
		return "ext"
	case n >= 4 && string(head[:4]) == "XFSB":
		return "XFS"
	}
	if n >= 512 && string(head[3:11]) == "NTFS    " {
		return "NTFS"
	}
	return otherName(head)
}
