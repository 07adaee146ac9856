package damage

import (
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Options for [Run].
type Options struct {
	Images  []*Image
	Seed    uint64
	Cases   int    // maximum per image; 0: all
	Kind    string // only this kind of damage; "": all
	Case    int    // only the case with that number, unless negative
	Peers   []Peer
	Workers int // concurrent cases
	// Verifier is a program that judges every VerifyEvery-th result, run with python3; "": none.
	Verifier    string
	VerifyEvery int
	Wrong       func(c *Case, wrong string) // called for each unmet requirement, one at a time
}

// Run judges the tools on the cases of all images in turn, until all are done or ctx ends.
func Run(ctx context.Context, opt Options) (*Table, error) {
	if opt.Kind != "" && !slices.Contains(rows(), opt.Kind) {
		return nil, fmt.Errorf("no kind of damage is called %q; there are %q", opt.Kind, rows())
	}
	table := NewTable(opt.Peers)
	dir, err := os.MkdirTemp("", "thinpool-lab")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	next, stop := iter.Pull(opt.cases())
	defer stop()
	var mu sync.Mutex
	n := 0
	take := func() (*Case, int) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return nil, 0
		}
		c, _ := next()
		n++
		return c, n
	}
	g := new(errgroup.Group)
	for i := range max(1, opt.Workers) {
		w := worker{opt: &opt, table: table, dir: filepath.Join(dir, fmt.Sprint(i)), mu: &mu}
		g.Go(func() error {
			if err := os.Mkdir(w.dir, 0o700); err != nil {
				return err
			}
			for c, n := take(); c != nil; c, n = take() {
				w.judge(context.WithoutCancel(ctx), c, n) // finish cases that have been started
			}
			return nil
		})
	}
	return table, g.Wait()
}

// cases yields the cases of all images in turn.
func (opt *Options) cases() iter.Seq[*Case] {
	return func(yield func(*Case) bool) {
		var nexts []func() (*Case, bool)
		for _, im := range opt.Images {
			cases := im.Cases(opt.Seed, opt.Kind)
			if opt.Case >= 0 {
				cases = one(im.Case(opt.Seed, opt.Case))
			}
			next, stop := iter.Pull(cases)
			defer stop()
			nexts = append(nexts, opt.chosen(next))
		}
		for more := true; more; {
			more = false
			for _, next := range nexts {
				c, ok := next()
				if ok && !yield(c) {
					return
				}
				more = more || ok
			}
		}
	}
}

// one yields a case, unless it is nil.
func one(c *Case) iter.Seq[*Case] {
	return func(yield func(*Case) bool) {
		if c != nil {
			yield(c)
		}
	}
}

// chosen limits the cases of one image to the requested ones.
func (opt *Options) chosen(next func() (*Case, bool)) func() (*Case, bool) {
	n := 0
	return func() (*Case, bool) {
		if opt.Cases > 0 && n == opt.Cases {
			return nil, false
		}
		n++
		return next()
	}
}

type worker struct {
	opt   *Options
	table *Table
	dir   string
	mu    *sync.Mutex
}

// judge runs all tools on the n-th case.
func (w *worker) judge(ctx context.Context, c *Case, n int) {
	d := c.Detect(ctx)
	ours := c.Repair(ctx, d)
	wrong := append(d.Wrong, ours.Wrong...)
	salvages := []*Salvage{ours}
	for _, p := range w.opt.Peers {
		theirs := p.repair(ctx, w.dir, c, d)
		// After sealed damage, a peer that goes back to an older transaction may happen to have
		// more of the truth than the sealed blocks. The table counts that.
		if theirs.Saved > ours.Saved && !c.Sealed {
			wrong = append(wrong, fmt.Sprintf("repair: saves %d mappings, %s %d of %d (error: %v)", ours.Saved, p.Name, theirs.Saved, c.Image.Truth.Mappings(), ours.Err))
		}
		salvages = append(salvages, theirs)
	}
	// The verifier has the same exception for sealed damage as Salvage.rebuild.
	if w.opt.Verifier != "" && n%w.opt.VerifyEvery == 0 && ours.output != nil && !c.Sealed {
		if err := w.verify(ctx, ours.output); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	w.table.add(c, d, salvages)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(wrong) > 0 {
		w.table.Failed++
	}
	for _, text := range wrong {
		w.opt.Wrong(c, text)
	}
}

// verify runs an independent checker on our result.
func (w *worker) verify(ctx context.Context, content []byte) error {
	path := filepath.Join(w.dir, "verify")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "python3", w.opt.Verifier, "--strict", path).CombinedOutput(); err != nil {
		return fmt.Errorf("the independent checker: %w: %s", err, short(string(out)))
	}
	return nil
}
