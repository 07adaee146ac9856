package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A tool that runs for longer than progressDelay shows what it is at, on a
// terminal only, and not more often than progressEvery.
const (
	progressDelay = time.Second
	progressEvery = 200 * time.Millisecond
	clearLine     = "\r\x1b[K"
)

// progress is one line on a terminal that is gone at the end.
type progress struct {
	mu     sync.Mutex
	w      io.Writer // nil: show nothing
	next   time.Time
	shown  bool
	logged string
}

func newProgress(stderr io.Writer, quiet bool) *progress {
	p := &progress{next: time.Now().Add(progressDelay)}
	if f, ok := stderr.(*os.File); ok && !quiet {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb" {
			p.w = stderr
		}
	}
	return p
}

// Progress is what tools call with what they are doing: a phase, and how much of
// it is done. A total of 0 means unknown.
func (e *Env) Progress(phase string, done, total uint64) {
	p := e.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	if phase != p.logged {
		p.logged = phase
		e.Log.Info(phase)
	}
	now := time.Now()
	if p.w == nil || now.Before(p.next) {
		return
	}
	p.next = now.Add(progressEvery)
	p.shown = true
	if total == 0 {
		fmt.Fprintf(p.w, "%s%s", clearLine, phase)
		return
	}
	fmt.Fprintf(p.w, "%s%s: %d %%", clearLine, phase, 100*done/total)
}

// stop removes the line.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, clearLine)
	}
	p.w = nil
}
