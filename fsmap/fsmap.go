// Package fsmap, whose API may change, finds out which files use given byte ranges of a volume with
// a file system. It reads only metadata: superblock, inodes, extents and directories.
//
// [Find] recognises the file system and goes through all inodes once. Everything in a range becomes
// a [Piece]. Directories are read afterwards, when it is known which inodes need a name. Unreadable
// metadata becomes a [Problem], and the search goes on without it.
//
// Each file system has files of its own in this package. None of them trusts its input: a search
// reads no more blocks than the volume has, the depth of trees is limited, and no header makes it
// allocate memory.
package fsmap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Range is a byte range of a volume.
type Range struct{ Begin, Len int64 }

// End returns the first byte after r.
func (r Range) End() int64 { return r.Begin + r.Len }

func (r Range) String() string { return fmt.Sprintf("bytes %d..%d", r.Begin, r.End()-1) }

// A Kind says what a piece of a volume is.
type Kind string

// Not every file system has all kinds.
const (
	Data                Kind = "data"
	Unwritten           Kind = "unwritten" // allocated to a file but never written; reads as zeros
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
	Superblock          Kind = "superblock" // XFS: including the other headers of the allocation group
	Descriptors         Kind = "descriptors"
	ReservedDescriptors Kind = "reserved descriptors"
	Journal             Kind = "journal"
	Quota               Kind = "quota"
	Other               Kind = "other"   // other metadata
	Free                Kind = "free"    // unused
	Unknown             Kind = "unknown" // the metadata that could tell is missing
)

// NoOffset is the offset of a piece that is not file content.
const NoOffset = -1

// A Piece is something in a range.
type Piece struct {
	Range
	Kind   Kind
	Inode  uint64 // 0: none
	Offset int64  // in the file, in bytes; NoOffset if not file content
	Group  int    // block or allocation group of metadata without an inode; otherwise -1
	// Paths has all known names of the inode, sorted. A path starts with <N> if the name of
	// directory N is unknown.
	Paths []string
}

// A Problem is missing metadata. Files may be missing from the result because of it.
type Problem struct {
	Range
	Text string
	// Inodes that may be missing; Last is 0 if unknown.
	First, Last uint64
}

// An Unnamed is an inode in use that no readable directory names.
type Unnamed struct {
	Inode uint64
	Path  string // starts with <N> for the inode, or for a lost directory above it
}

// A Result says what is in the ranges.
type Result struct {
	FileSystem string // "ext4"
	BlockSize  int64
	Pieces     []Piece // in order of position
	Problems   []Problem
	Unnamed    []Unnamed // only if there are problems
	Notes      []string  // other things users should know
}

// Complete reports whether all metadata could be read.
func (r *Result) Complete() bool { return len(r.Problems) == 0 }

// Options for [Find].
type Options struct {
	// Lost lists bytes not to read, because their content is not what the file system wrote.
	Lost []Range
	// Progress is called with the number of inodes searched; may be nil.
	Progress func(done, total uint64)
}

// Errors wrapped by those of [Find].
var (
	ErrUnknown     = errors.New("no file system was recognised (known are ext2, ext3, ext4, XFS and NTFS)")
	ErrUnsupported = errors.New("this file system cannot be searched")
	ErrDamaged     = errors.New("the file system is damaged")
)

// Find reports what is in the ranges of a volume of size bytes. It returns an error if it cannot
// say anything.
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

// unrecognised ends the search of an unsupported file system. If it is known by name, the ranges
// are listed.
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

// foreign lists file systems that are recognised but not searched.
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

// otherName returns the name of a file system that is recognised but not searched; empty: unknown.
func otherName(head []byte) string {
	for _, k := range foreign {
		if end := k.at + len(k.magic); end <= len(head) && string(head[k.at:end]) == k.magic {
			return k.name
		}
	}
	return ""
}

// ranges are sorted and do not touch.
type ranges []Range

// newRanges sorts and merges.
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

// in yields the parts of n bytes from begin on that are in the ranges.
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

// any reports whether any of the bytes are in the ranges.
func (rs ranges) any(begin, n int64) bool {
	for range rs.in(begin, n) {
		return true
	}
	return false
}

// Recognise returns the name of the file system on a volume, based on its first superblock; empty:
// unknown.
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
