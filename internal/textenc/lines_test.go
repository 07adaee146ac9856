package textenc_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/textenc"
	"thinpool/metadata"
)

// The lines of a leaf are the text of its runs, but for the first and the last.
func TestLinesAgreeWithStream(t *testing.T) {
	line := func(dst []byte, runs []metadata.Run) []byte {
		for _, r := range runs {
			dst = fmt.Appendln(dst, r)
		}
		return dst
	}
	for _, name := range []string{"sequential", "wide-sharing", "thinned-out", "layers"} {
		p, err := metadata.Open(fixtures.Mem(t, name), metadata.Options{Parallel: 3})
		if err != nil {
			t.Fatal(err)
		}
		for d, err := range p.Devices(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			m, err := p.Mappings(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			var got, want []byte
			var mapped uint64
			err = errors.Join(textenc.StreamLines(t.Context(), m, m.Steps(d), line, func(l *textenc.Lines) error {
				mapped += l.Mapped
				switch l.Runs {
				case 0:
				case 1:
					got = line(got, []metadata.Run{l.First})
				default:
					got = line(append(line(got, []metadata.Run{l.First}), l.Between...), []metadata.Run{l.Last})
				}
				return nil
			}), m.Stream(t.Context(), m.Steps(d), func(runs []metadata.Run) error {
				want = line(want, runs)
				return nil
			}))
			if err != nil || !bytes.Equal(got, want) || mapped != d.MappedBlocks {
				t.Errorf("%s, device %d: %d mapped blocks, want %d; %v; lines:\n%.300s", name, d.ID, mapped, d.MappedBlocks, err, got)
			}
		}
	}
}
