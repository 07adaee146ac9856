package delta

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"thinpool/internal/pdata/btree"
	"thinpool/metadata"
)

// A piece is what a side has in some keys.
type piece struct {
	runs []metadata.Run
	keys btree.KeyRange
}

const end = 200 // of the thin blocks

// drawPieces draws a stream of runs and cuts it anywhere, but not within a run.
func drawPieces(t *rapid.T, side string) []piece {
	var pieces []piece
	next := piece{keys: btree.AllKeys}
	at := uint64(0)
	for at < end {
		r := metadata.Run{Thin: metadata.ThinBlock(at), Len: rapid.Uint64Range(1, 20).Draw(t, side+" length")}
		r.Data = metadata.DataBlock(at + 1000*rapid.Uint64Range(0, 2).Draw(t, side+" data"))
		next.runs = append(next.runs, r)
		at += r.Len + rapid.Uint64Range(0, 5).Draw(t, side+" gap")
		if rapid.IntRange(0, 3).Draw(t, side+" cut") == 0 {
			next.keys.Last = at - 1
			pieces = append(pieces, next)
			next = piece{keys: btree.KeyRange{First: at, Last: math.MaxUint64}}
		}
	}
	return append(pieces, next)
}

// Two streams give the same result in any pieces and any order as when compared as a whole. Pieces
// are not used after the call.
func TestPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left, right := drawPieces(t, "left"), drawPieces(t, "right")
		opt := Options{Data: rapid.Bool().Draw(t, "with data")}
		var want [end + 30][2]metadata.DataBlock // the data block plus 1; 0 if unmapped
		for side, pieces := range [][]piece{left, right} {
			for _, p := range pieces {
				for _, r := range p.runs {
					for i := range r.Len {
						want[uint64(r.Thin)+i][side] = r.Data + metadata.DataBlock(i) + 1
					}
				}
			}
		}
		var got [end + 30][2]metadata.DataBlock
		last := Range{}
		m := newMerger(opt, func(ranges []Range) error {
			for _, r := range ranges {
				if r.Begin < last.Begin+metadata.ThinBlock(last.Len) {
					t.Fatalf("%v after %v", r, last)
				}
				last = r
				for i := range metadata.ThinBlock(r.Len) {
					// Without Data, only the first block of a range tells where it is.
					l, in := want[r.Begin+i][0], want[r.Begin+i][1]
					if opt.Data || i == 0 {
						l, in = r.Left+metadata.DataBlock(i)+1, r.Right+metadata.DataBlock(i)+1
					}
					if r.Kind == RightOnly {
						l = 0
					}
					if r.Kind == LeftOnly {
						in = 0
					}
					if (r.Kind == Same) != (l == in) {
						t.Fatalf("%v: data blocks %d and %d", r, l, in)
					}
					got[r.Begin+i] = [2]metadata.DataBlock{l, in}
				}
			}
			return nil
		})
		for len(left) > 0 || len(right) > 0 {
			side, from := btree.Left, &left
			if len(left) == 0 || len(right) > 0 && rapid.Bool().Draw(t, "the right one") {
				side, from = btree.Right, &right
			}
			lent := slices.Clone((*from)[0].runs)
			if err := m.feed(side, lent, (*from)[0].keys); err != nil {
				t.Fatal(err)
			}
			clear(lent)
			*from = (*from)[1:]
		}
		if err := m.finish(); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatal("the ranges are not what the streams say")
		}
	})
}
