package fsmap

import (
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// A numbers is a sparse set of inode numbers.
type numbers map[uint64]uint64

func (s numbers) set(n uint64)      { s[n/64] |= 1 << (n % 64) }
func (s numbers) has(n uint64) bool { return s[n/64]>>(n%64)&1 != 0 }

// all yields the numbers in ascending order.
func (s numbers) all() iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for _, word := range slices.Sorted(maps.Keys(s)) {
			for rest := s[word]; rest != 0; rest &= rest - 1 {
				if !yield(word*64 + uint64(bits.TrailingZeros64(rest))) {
					return
				}
			}
		}
	}
}

// Limits of paths.
const (
	mostDepth = 1000  // folders in a path
	mostBytes = 65536 // of a path
	mostNames = 1000  // of an inode
)

// pathsOf returns all known paths of an inode, sorted; <N> if it has none.
func (s *search) pathsOf(inode uint64) []string {
	if known, ok := s.paths[inode]; ok {
		return known
	}
	var all []string
	for _, l := range s.links[inode] {
		if len(all) < mostNames {
			all = append(all, s.path(l))
		}
	}
	switch {
	case inode == s.root:
		all = []string{"/"}
	case all == nil:
		all = []string{unnamed(inode)}
		if dir, ok := s.above[inode]; ok {
			all = []string{s.path(link{dir, unnamed(inode)})}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	s.paths[inode] = all
	return all
}

// path returns the path of a name, starting at the root or at a directory with unknown parents.
func (s *search) path(l link) string {
	parts, size := []string{l.name}, len(l.name)
	for dir, depth := l.dir, 0; dir != s.root; depth++ {
		above := link{s.above[dir], unnamed(dir)}
		if names := s.links[dir]; len(names) > 0 {
			above = names[0]
		}
		parts, size = append(parts, above.name), size+len(above.name)
		if dir = above.dir; dir == 0 || depth == mostDepth || size > mostBytes {
			break
		}
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

func unnamed(inode uint64) string { return fmt.Sprintf("<%d>", inode) }

// rest adds pieces for the parts of the ranges in which nothing was found.
func (s *search) rest() {
	kind := Free
	if !s.result.Complete() {
		kind = Unknown
	}
	var gaps []Piece
	next := 0
	for _, r := range s.ranges {
		at := r.Begin
		gap := func(end int64) {
			if at < end {
				gaps = append(gaps, Piece{Range: Range{at, end - at}, Kind: kind, Offset: NoOffset, Group: -1})
			}
			at = max(at, end)
		}
		for ; next < len(s.result.Pieces) && s.result.Pieces[next].Begin < r.End(); next++ {
			p := &s.result.Pieces[next]
			gap(p.Begin)
			at = max(at, p.End())
		}
		gap(r.End())
	}
	s.result.Pieces = append(s.result.Pieces, gaps...)
	slices.SortStableFunc(s.result.Pieces, byPlace)
}
