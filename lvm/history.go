package lvm

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"thinpool/lvm/internal/text"
)

// An Old text is one that was found in the ring of a metadata area: the committed one, or what
// earlier changes left.
type Old struct {
	Disk   *Disk
	Area   int    // index in Disk.Metadata
	Offset uint64 // of the text in the area
	Live   bool   // it is the committed one
	Group  *Group // without disks
}

// Bounds of a search for old texts.
const (
	historyChunk = 1 << 20  // read at a time
	historyMost  = 4 << 30  // bytes of an area that are searched
	historyExtra = 64 << 20 // read at most beyond four times that, by candidates
)

// History yields the texts in the metadata areas of all disks: those that can be parsed, in the
// order in which they lie there. An error comes with the area that could not be searched to its
// end, and the next one follows.
func (s *Set) History(ctx context.Context) iter.Seq2[Old, error] {
	return func(yield func(Old, error) bool) {
		for _, d := range s.Disks {
			for i := range d.Metadata {
				h := &history{d: d, area: i, m: d.Metadata[i]}
				// With a damaged header the label still says where the ring is.
				h.m.Size = min(h.m.Size, uint64(max(d.On.Size()-int64(min(h.m.Offset, mostBytes)), 0)))
				if h.m.Size < 2*sector {
					continue
				}
				for old, err := range h.all(ctx) {
					if err != nil {
						err = fmt.Errorf("%v: metadata area at byte %d: %w", d, h.m.Offset, err)
					}
					if !yield(old, err) || ctx.Err() != nil {
						return
					}
				}
			}
		}
	}
}

type history struct {
	d     *Disk
	area  int
	m     MetadataArea
	spent uint64 // bytes read for candidates
}

// all goes through the sectors of the ring. A text that is good is passed over as a whole:
// sections in it may begin a sector, too.
func (h *history) all(ctx context.Context) iter.Seq2[Old, error] {
	return func(yield func(Old, error) bool) {
		end := min(h.m.Size, historyMost)
		buf := make([]byte, min(historyChunk, end))
		next := uint64(sector)
		for base := uint64(sector); base < end; base += historyChunk {
			if err := ctx.Err(); err != nil {
				yield(Old{}, err)
				return
			}
			p := buf[:min(uint64(len(buf)), end-base)]
			if err := h.d.On.ReadFull(p, int64(h.m.Offset+base)); err != nil {
				yield(Old{}, err)
				return
			}
			for at := 0; at < len(p); at += sector {
				offset := base + uint64(at)
				if offset < next || !beginsText(p[at:min(at+sector, len(p))]) {
					continue
				}
				size, g, err := h.candidate(offset)
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					yield(Old{}, err)
					return
				}
				if g == nil {
					continue
				}
				next = offset + size
				live := offset == h.m.TextOffset && size == h.m.TextSize
				if !yield(Old{h.d, h.area, offset, live, g}, nil) {
					return
				}
			}
		}
		if end < h.m.Size {
			yield(Old{}, fmt.Errorf("only its first %d bytes are searched", end))
		}
	}
}

// beginsText reports whether a sector begins with NAME { and, in the next line, id =.
func beginsText(p []byte) bool {
	name, rest, ok := bytes.Cut(p[:min(len(p), mostName+20)], []byte(" {\n"))
	return ok && bytes.HasPrefix(rest, []byte("id = ")) && checkName(string(name), 0) == nil
}

// candidate reads what begins at an offset, up to a NUL, and parses it. No group means that it
// is not a text, or one that was overwritten in part.
func (h *history) candidate(offset uint64) (size uint64, g *Group, err error) {
	const first = 8 << 10
	limit := min(h.m.Size-sector, text.MaxSize)
	for n := min(uint64(first), limit); ; n = min(2*n, limit) {
		if h.spent += n; h.spent > 4*min(h.m.Size, historyMost)+historyExtra {
			return 0, nil, fmt.Errorf("too much in it looks like LVM metadata: the search stopped at byte %d", offset)
		}
		p, err := h.m.read(h.d.On, offset, n)
		if err != nil {
			return 0, nil, err
		}
		if end := bytes.IndexByte(p, 0); end >= 0 {
			g, err := ParseGroup(p[:end])
			if err != nil {
				return 0, nil, nil
			}
			return uint64(end) + 1, g, nil
		}
		if n == limit {
			return 0, nil, nil
		}
	}
}
