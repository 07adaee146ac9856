package fsmap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A search is the common part of all file systems: bounded reads, results and names.
type search struct {
	ended  func() error // the error of the context
	r      io.ReaderAt
	size   int64
	ranges ranges
	lost   ranges // must not be read
	opt    Options
	left   int64 // bytes that may still be read
	ran    bool  // the limit was reached and reported

	result Result
	root   uint64
	links  map[uint64][]link // names of directories and of inodes that need one
	dirs   numbers
	used   numbers
	named  numbers
	wanted numbers
	paths  map[uint64][]string
	above  map[uint64]uint64 // parents recorded in the directories themselves, for those without a name
}

// A link is a name in a directory.
type link struct {
	dir  uint64
	name string
}

func newSearch(ctx context.Context, r io.ReaderAt, size int64, all []Range, opt Options) *search {
	s := &search{
		ended: ctx.Err, r: r, size: size, ranges: newRanges(all, size), opt: opt,
		links: map[uint64][]link{}, dirs: numbers{}, used: numbers{}, named: numbers{}, wanted: numbers{}, paths: map[uint64][]string{}, above: map[uint64]uint64{},
	}
	s.lost = newRanges(opt.Lost, size)
	// Each metadata block is read once. Some at the start are read several times.
	s.left = size + 1<<22
	return s
}

var (
	errLost    = errors.New("lost")
	errBudget  = errors.New("the metadata leads to more blocks than the volume has: it is damaged")
	errOutside = errors.New("beyond the end of the volume")
)

// read fills p.
func (s *search) read(p []byte, at int64) error {
	n := int64(len(p))
	switch {
	case s.ended() != nil:
		return s.ended()
	case at < 0 || at > s.size-n:
		return errOutside
	case s.lost.any(at, n):
		return errLost
	case s.left < n:
		if !s.ran {
			s.ran = true
			s.problem(Problem{Text: errBudget.Error()})
		}
		return errBudget
	}
	s.left -= n
	got, err := s.r.ReadAt(p, at)
	if got == len(p) {
		return nil
	}
	return cmp.Or(err, io.ErrUnexpectedEOF)
}

// mostProblems limits how many problems are kept; any more are merged into one.
const mostProblems = 10000

// problem records missing metadata. It merges neighbours with the same text.
func (s *search) problem(p Problem) {
	all := s.result.Problems
	if n := len(all); n > 0 {
		last := &all[n-1]
		switch {
		case p.Len > 0 && last.Text == p.Text && last.End() == p.Begin && (p.Last == 0) == (last.Last == 0) && (p.Last == 0 || last.Last+1 == p.First):
			last.Len += p.Len
			last.Last = p.Last
			return
		case n == mostProblems:
			s.result.Problems = append(all, Problem{Text: "there are more problems than are listed"})
			return
		case n > mostProblems:
			return
		}
	}
	s.result.Problems = append(all, p)
}

func (s *search) note(format string, args ...any) {
	s.result.Notes = append(s.result.Notes, fmt.Sprintf(format, args...))
}

// found records the parts of n bytes from begin on that are in a range. p.Offset is the file offset
// of the first byte.
func (s *search) found(p Piece, begin, n int64) {
	offset := p.Offset
	for r := range s.ranges.in(begin, n) {
		if p.Range = r; offset != NoOffset {
			p.Offset = offset + r.Begin - begin
		}
		s.result.Pieces = append(s.result.Pieces, p)
		if p.Inode != 0 {
			s.wanted.set(p.Inode)
		}
	}
}

// metadata records metadata that does not belong to an inode.
func (s *search) metadata(kind Kind, group int, begin, n int64) {
	s.found(Piece{Kind: kind, Offset: NoOffset, Group: group}, begin, n)
}

// ofInode records metadata of an inode.
func (s *search) ofInode(kind Kind, inode uint64, begin, n int64) {
	s.found(Piece{Kind: kind, Inode: inode, Offset: NoOffset, Group: -1}, begin, n)
}

// name records a name in a directory. place is the location of the inode's record, of n bytes; n is
// 0 if unknown.
func (s *search) name(dir uint64, name []byte, inode uint64, place, n int64) {
	s.named.set(inode)
	if s.ranges.any(place, n) && !s.used.has(inode) { // not read, or read as unused
		s.used.set(inode)
		s.ofInode(Inode, inode, place, n)
	}
	if s.wanted.has(inode) || s.dirs.has(inode) {
		s.links[inode] = append(s.links[inode], link{dir, string(name)})
	}
}

// finish builds the result.
func (s *search) finish() *Result {
	res := &s.result
	slices.SortStableFunc(res.Pieces, byPlace)
	res.Pieces = joined(res.Pieces)
	for i := range res.Pieces {
		if p := &res.Pieces[i]; p.Inode != 0 {
			p.Paths = s.pathsOf(p.Inode)
		}
	}
	s.rest()
	if !res.Complete() {
		for n := range s.used.all() {
			if !s.named.has(n) && n != s.root {
				res.Unnamed = append(res.Unnamed, Unnamed{n, s.pathsOf(n)[0]})
			}
		}
	}
	return res
}

// joined merges neighbours that continue each other.
func joined(pieces []Piece) []Piece {
	out := pieces[:0]
	for _, p := range pieces {
		if n := len(out); n > 0 {
			last := &out[n-1]
			same := last.Kind == p.Kind && last.Inode == p.Inode && last.Group == p.Group
			if same && last.End() >= p.Begin && (p.Offset == NoOffset || p.Offset-last.Offset == p.Begin-last.Begin) {
				last.Len = max(last.End(), p.End()) - last.Begin // also if found twice
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

func byPlace(a, b Piece) int {
	return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.Inode, b.Inode), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.End(), b.End()))
}
