package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"thinpool/internal/printable"
)

const (
	progressAfter = time.Second            // quick runs show nothing
	progressEvery = 250 * time.Millisecond // interval between updates of the line
	progressWidth = 79                     // the line must not wrap, or it could not be erased
	progressLines = 5 * time.Second        // interval between the lines of --progress
)

// Progress shows the current phase and how much of it is done. A total of 0 means unknown. It is
// safe for concurrent use. Only an Env from [Run] shows anything.
func (e *Env) Progress(phase string, done, total uint64) {
	if e.progress != nil {
		e.progress.update(phase, done, total)
	}
}

// progress is one line at the bottom of a terminal. All other output to the terminal goes through
// it, because it must erase the line first. Elsewhere it prints a new line every few seconds, and
// only if requested.
type progress struct {
	w     io.Writer
	shown bool         // w is a terminal, or lines were requested
	lines string       // what each line starts with; "" on a terminal
	log   *slog.Logger // logs phases

	mu          sync.Mutex
	phase       string
	done, total uint64
	began       time.Time // start of the phase
	drawn       bool      // the line is visible
	midLine     bool      // other output has not ended its line yet
	stop        chan struct{}
	stopped     sync.WaitGroup
}

// newProgress returns the progress of a tool on w. lines requests it where a line cannot be erased.
func newProgress(w io.Writer, tool string, lines bool) *progress {
	p := &progress{w: w, shown: canErase(w), log: slog.New(slog.DiscardHandler)}
	if lines && !p.shown {
		p.shown, p.lines = true, tool+": "
	}
	return p
}

// update records progress. It is cheap enough to call for every block.
func (p *progress) update(phase string, done, total uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if phase != p.phase {
		p.endPhase()
		p.phase, p.began = phase, time.Now()
	}
	p.done, p.total = done, total
	if p.shown && p.stop == nil {
		stop := make(chan struct{})
		p.stop = stop
		p.stopped.Go(func() { p.run(stop) })
	}
}

func (p *progress) endPhase() {
	phase, took := p.phase, time.Since(p.began)
	if phase == "" {
		return
	}
	p.phase = "" // so that no other goroutine ends it, too
	p.mu.Unlock()
	p.log.Info(phase, "took", took.Round(time.Microsecond)) // writes through p
	p.mu.Lock()
}

// run redraws the line until stop is closed.
func (p *progress) run(stop chan struct{}) {
	after, every := progressAfter, progressEvery
	if p.lines != "" {
		after, every = progressLines, progressLines
	}
	wait := time.NewTimer(after)
	defer wait.Stop()
	for {
		select {
		case <-stop:
			return
		case <-wait.C:
			p.draw()
			wait.Reset(every)
		}
	}
}

func (p *progress) draw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch line := printable.Text(p.line()); {
	case p.midLine || p.phase == "":
	case p.lines != "":
		fmt.Fprintf(p.w, "%s%s\n", p.lines, line)
	default:
		fmt.Fprintf(p.w, "\r\x1b[K%.*s", progressWidth, line)
		p.drawn = true
	}
}

// line returns the text of the line.
func (p *progress) line() string {
	if p.total == 0 || p.done > p.total {
		if p.done == 0 {
			return p.phase
		}
		return fmt.Sprintf("%s: %d", p.phase, p.done)
	}
	line := fmt.Sprintf("%s: %d%% (%d of %d)", p.phase, int(100*float64(p.done)/float64(p.total)), p.done, p.total)
	took := time.Since(p.began)
	if left := time.Duration(float64(took) * (float64(p.total)/float64(max(p.done, 1)) - 1)); took > progressAfter && p.done > 0 {
		line += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	return line
}

// erase erases the line.
func (p *progress) erase() {
	if p.drawn {
		io.WriteString(p.w, "\r\x1b[K")
		p.drawn = false
	}
}

// close stops the progress line. It may be called twice.
func (p *progress) close() {
	p.mu.Lock()
	stop := p.stop
	p.stop = nil
	p.mu.Unlock()
	if stop != nil {
		close(stop)
	}
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.endPhase()
	p.shown = false
}

// beside returns a writer to w that keeps clear of the line, if the output ends up (at to) where
// progress is shown.
func (p *progress) beside(w, to io.Writer) io.Writer {
	if p.shown && (p.lines == "" && canErase(to) || p.lines != "" && to == p.w) {
		return &besideProgress{p, w}
	}
	return w
}

type besideProgress struct {
	p *progress
	w io.Writer
}

func (b *besideProgress) Write(text []byte) (int, error) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	b.p.erase()
	if len(text) > 0 {
		b.p.midLine = text[len(text)-1] != '\n'
	}
	return b.w.Write(text)
}

// canErase reports whether w is a terminal that can erase a line.
func canErase(w io.Writer) bool { return isTerminal(w) && os.Getenv("TERM") != "dumb" }
