// Package blockset implements sets of data blocks. Their size follows what was added.
package blockset

import (
	"iter"
	"math/bits"
)

const (
	wordBits  = 64
	pageBlock = 1 << 15 // blocks per page of 4 KiB
	pageWords = pageBlock / wordBits
)

type page [pageWords]uint64

// A Set is a set of data blocks with one bit per block. Pages exist only where there are blocks, so
// the size follows what was added, plus one pointer per page up to the highest block.
type Set struct{ pages []*page }

// Add adds n blocks starting at begin.
func (s *Set) Add(begin, n uint64) {
	for n > 0 {
		i := begin / pageBlock
		for uint64(len(s.pages)) <= i {
			s.pages = append(s.pages, nil)
		}
		if s.pages[i] == nil {
			s.pages[i] = new(page)
		}
		first := begin % pageBlock
		here := min(n, pageBlock-first)
		s.pages[i].fill(first, first+here)
		begin, n = begin+here, n-here
	}
}

// fill sets the bits from begin up to, but not including, end.
func (p *page) fill(begin, end uint64) {
	for begin < end {
		next := min(begin/wordBits*wordBits+wordBits, end)
		p[begin/wordBits] |= mask(begin, next)
		begin = next
	}
}

// mask returns the bits from begin up to, but not including, end. Both lie in one word.
func mask(begin, end uint64) uint64 {
	return ^uint64(0) >> (wordBits - (end - begin)) << (begin % wordBits)
}

// page returns page i, or nil if it is empty.
func (s *Set) page(i uint64) *page {
	if i >= uint64(len(s.pages)) {
		return nil
	}
	return s.pages[i]
}

// Next returns the first block in [at, end) that is in the set, or that is not if in is false; end
// if there is none.
func (s *Set) Next(at, end uint64, in bool) uint64 {
	for at < end {
		p := s.page(at / pageBlock)
		if p == nil {
			if !in {
				return at
			}
			if at/pageBlock >= uint64(len(s.pages)) {
				return end
			}
			at = at/pageBlock*pageBlock + pageBlock
			continue
		}
		word := p[at%pageBlock/wordBits]
		if !in {
			word = ^word
		}
		if word >>= at % wordBits; word != 0 {
			return min(at+uint64(bits.TrailingZeros64(word)), end)
		}
		at = at/wordBits*wordBits + wordBits
	}
	return end
}

// Ranges yields the begin and end of the ranges within [begin, end) that are in the set, or those
// that are not if in is false, in ascending order.
func (s *Set) Ranges(begin, end uint64, in bool) iter.Seq2[uint64, uint64] {
	return func(yield func(begin, end uint64) bool) {
		for at := s.Next(begin, end, in); at < end; {
			stop := s.Next(at, end, !in)
			if !yield(at, stop) {
				return
			}
			at = s.Next(stop, end, in)
		}
	}
}

// Below returns how many blocks below end are in the set.
func (s *Set) Below(end uint64) uint64 {
	n := 0
	for i, p := range s.pages {
		begin := uint64(i) * pageBlock
		if begin >= end {
			break
		}
		if p == nil {
			continue
		}
		here := min(end-begin, pageBlock)
		for _, word := range p[:here/wordBits] {
			n += bits.OnesCount64(word)
		}
		if rest := here % wordBits; rest > 0 {
			n += bits.OnesCount64(p[here/wordBits] & mask(0, rest))
		}
	}
	return uint64(n)
}
