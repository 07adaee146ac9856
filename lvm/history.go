package lvm

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"thinpool/lvm/internal/text"
)

// An Old text is a text found in the ring of a metadata area: the committed one or one left by
// earlier changes.
type Old struct {
	Disk   *Disk
	Area   int    // index in Disk.Metadata
	Offset uint64 // of the text in the area
	Live   bool   // the committed text
	Group  *Group // without disks
}

// Limits of a search for old texts.
const (
	historyChunk = 1 << 20  // read at a time
	historyMost  = 4 << 30  // bytes searched per area
	historyExtra = 64 << 20 // bytes that candidates may read beyond four times that
)

// History yields all texts in the metadata areas of all disks that can be parsed, in the order of
// their position. If an area cannot be searched to the end, it yields an error and goes on with the
// next.
func (s *Set) History(ctx context.Context) iter.Seq2[Old, error] {
	return func(yield func(Old, error) bool) {
		for _, d := range s.Disks {
			for i := range d.Metadata {
				h := &history{d: d, area: i, m: d.Metadata[i]}
				// If the header is damaged, the label still gives the location of the ring.
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

// all searches the sectors of the ring. It skips a valid text as a whole: sections inside it may
// start at a sector, too.
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

// beginsText reports whether a sector starts with NAME { and the next line with id =.
func beginsText(p []byte) bool {
	name, rest, ok := bytes.Cut(p[:min(len(p), mostName+20)], []byte(" {\n"))
	return ok && bytes.HasPrefix(rest, []byte("id = ")) && checkName(string(name), 0) == nil
}

// candidate reads and parses the text at an offset, up to a NUL. It returns a nil group if there is
// no text, or only the rest of one that has been partly overwritten.
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
