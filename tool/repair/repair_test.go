package repair_test

import (
	"context"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
)

// content is all mappings of a pool: device, thin block, data block.
type content map[metadata.DevID]map[metadata.ThinBlock]metadata.DataBlock

// A recorder is a Visitor that keeps the mappings. It wants no defs.
type recorder struct {
	header metadata.Header
	all    content
	now    map[metadata.ThinBlock]metadata.DataBlock
}

func (r *recorder) Begin(h metadata.Header) error { r.header, r.all = h, content{}; return nil }
func (r *recorder) BeginDef(string) error         { panic("def") }
func (r *recorder) EndDef() error                 { panic("def") }
func (r *recorder) Ref(string) error              { panic("ref") }
func (r *recorder) EndDevice() error              { return nil }
func (r *recorder) End() error                    { return nil }

func (r *recorder) BeginDevice(id metadata.DevID, _ metadata.Details) error {
	r.now = map[metadata.ThinBlock]metadata.DataBlock{}
	r.all[id] = r.now
	return nil
}

func (r *recorder) Runs(runs []metadata.Run) error {
	for _, run := range runs {
		for i := range run.Len {
			r.now[run.Thin+metadata.ThinBlock(i)] = run.Data + metadata.DataBlock(i)
		}
	}
	return nil
}

func contentOf(t testing.TB, dev block.Device) content {
	t.Helper()
	p, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var r recorder
	if err := dump.Run(context.Background(), p, dump.Options{Flat: true}, &r); err != nil {
		t.Fatal(err)
	}
	return r.all
}

// compare counts the mappings of got that truth has, and those it has not.
func (truth content) compare(got content) (right, wrong int) {
	for id, maps := range got {
		for thin, data := range maps {
			if d, ok := truth[id][thin]; ok && d == data {
				right++
			} else {
				wrong++
			}
		}
	}
	return right, wrong
}

func (truth content) len() (n int) {
	for _, maps := range truth {
		n += len(maps)
	}
	return n
}

// Each block in use is damaged in turn.
func TestEachBlock(t *testing.T) {
	for _, name := range fixtures.Names() {
		t.Run(name, func(t *testing.T) {
			image, err := fixtures.Image(name)
			if err != nil {
				t.Fatal(err)
			}
			truth := contentOf(t, block.NewMemFrom(image))
			all := truth.len()
			cases, right, wrong, silent, lossless := 0, 0, 0, 0, 0
			for nr := block.Nr(1); nr < block.Nr(len(image)/block.Size); nr++ {
				if name == "wide-sharing" && nr%7 != 0 {
					continue
				}
				dev := block.NewMemFrom(append([]byte(nil), image...))
				dev.FailReads(nr)
				sum, err := check.Run(t.Context(), dev, check.Options{}, func(check.Fault) {})
				if err != nil || sum.Fatal == 0 {
					continue
				}
				res, err := repair.Find(t.Context(), dev, repair.Options{})
				if err != nil {
					t.Errorf("block %d: %v", nr, err)
					continue
				}
				r, w := truth.compare(contentOf(t, res.Device))
				cases++
				right, wrong = right+r, wrong+w
				if r < all || w > 0 {
					t.Logf("block %d: %d of %d, %d wrong, notes %q", nr, r, all, w, res.Report.Notes)
				}
				if res.Report.Lossless() {
					lossless++
					if r < all {
						silent++
						t.Errorf("block %d: %d of %d mappings, and no word", nr, r, all)
					}
				}
			}
			t.Logf("%d cases of %d mappings: saved %.3f %%, wrong %d, lossless %d, silent %d", cases, all, 100*float64(right)/float64(max(1, cases*all)), wrong, lossless, silent)
		})
	}
}
