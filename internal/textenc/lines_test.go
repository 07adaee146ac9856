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

// A lineWriter writes one line per run.
type lineWriter struct {
	metadata.Visitor // methods that are not called
	got              []byte
	mapped           uint64
}

func (*lineWriter) Format(dst []byte, runs []metadata.Run) []byte {
	for _, r := range runs {
		dst = fmt.Appendln(dst, r)
	}
	return dst
}

func (w *lineWriter) Runs(runs []metadata.Run) error {
	for _, r := range runs {
		w.mapped += r.Len
	}
	w.got = w.Format(w.got, runs)
	return nil
}

func (w *lineWriter) Formatted(first metadata.Run, between []byte, last metadata.Run, mapped uint64) error {
	w.mapped += mapped
	w.got = w.Format(w.got, []metadata.Run{first})
	w.got = w.Format(append(w.got, between...), []metadata.Run{last})
	return nil
}

// The text of a leaf matches its runs, except for the first and the last.
func TestLinesAgreeWithStream(t *testing.T) {
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
			var want []byte
			var v lineWriter
			err = errors.Join(textenc.StreamLines(t.Context(), m, m.Steps(d), &v, nil), m.Stream(t.Context(), m.Steps(d), func(_ *metadata.Step, runs []metadata.Run) error {
				want = v.Format(want, runs)
				return nil
			}))
			if err != nil || !bytes.Equal(v.got, want) || v.mapped != d.MappedBlocks {
				t.Errorf("%s, device %d: %d mapped blocks, want %d; %v; lines:\n%.300s", name, d.ID, v.mapped, d.MappedBlocks, err, v.got)
			}
		}
	}
}
