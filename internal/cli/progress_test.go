package cli

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const clear = "\r\x1b[K"

func onTerminal(w io.Writer) *progress {
	return &progress{w: w, shown: true, log: slog.New(slog.DiscardHandler)}
}

func TestProgressLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var term bytes.Buffer
		p := onTerminal(&term)
		step := func(wait time.Duration, want string) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			if got := term.String(); got != want {
				t.Errorf("terminal shows %q, want %q", got, want)
			}
			term.Reset()
		}
		p.update("reading", 1, 4)
		step(progressAfter-1, "")
		step(1, clear+"reading: 25% (1 of 4)")
		p.update("reading", 2, 4)
		step(progressEvery, clear+"reading: 50% (2 of 4), 1s left")

		out := &besideProgress{p, &term}
		_, _ = io.WriteString(out, "a fault\n")
		step(0, clear+"a fault\n")
		_, _ = io.WriteString(out, "half a")
		step(0, "half a")
		step(3*progressEvery, "") // not in the middle of a line
		_, _ = io.WriteString(out, " line\n")
		step(0, " line\n")
		p.update("writing", 7, 0)
		step(progressEvery, clear+"writing: 7")
		p.update(strings.Repeat("long", 30), 1, 1)
		step(progressEvery, clear+strings.Repeat("long", 30)[:progressWidth])
		p.close()
		p.close()
		step(time.Hour, clear)
	})
}

type slowTool struct {
	Common
	took time.Duration
}

func (s *slowTool) Run(env *Env) error {
	env.Progress("reading", 1, 4)
	time.Sleep(s.took)
	env.Progress("reading", 3, 4)
	time.Sleep(s.took)
	_, _ = io.WriteString(env.Stderr, "half a")
	time.Sleep(s.took)
	_, _ = io.WriteString(env.Stderr, " line\n")
	return nil
}

// Where no line can be removed, progress is lines of their own, and only if they were asked for.
func TestProgressLines(t *testing.T) {
	for args, want := range map[string]string{
		"":              "half a line\n",
		"--progress":    "slow: reading: 25% (1 of 4), 15s left\nslow: reading: 75% (3 of 4), 3s left\nhalf a line\n",
		"--progress -q": "",
	} {
		synctest.Test(t, func(t *testing.T) {
			var stderr bytes.Buffer
			tool := Tool{Name: "slow", Summary: "Sleep.", New: func() Command { return &slowTool{took: progressLines + time.Second} }}
			if code := Run(t.Context(), tool, strings.Fields(args), strings.NewReader(""), io.Discard, &stderr); code != 0 {
				t.Errorf("%s: exit code %d", args, code)
			}
			if got := stderr.String(); got != want {
				t.Errorf("%s: %q, want %q", args, got, want)
			}
		})
	}
}

// Quick work shows nothing, and nothing is left of it.
func TestProgressQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var term bytes.Buffer
		p := onTerminal(&term)
		p.update("reading", 1, 4)
		time.Sleep(progressAfter - 1)
		p.close()
		time.Sleep(time.Minute)
		if term.Len() > 0 {
			t.Errorf("terminal shows %q", term.String())
		}
	})
}

func TestProgressConcurrent(t *testing.T) {
	var term, log bytes.Buffer
	p := onTerminal(&term)
	p.log = slog.New(slog.NewTextHandler(&besideProgress{p, &log}, nil))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range uint64(100) {
				p.update([]string{"a", "b"}[i%2], n, 100)
			}
		})
	}
	all.Wait()
	p.close()
	if !strings.Contains(log.String(), "msg=a took=") {
		t.Errorf("log: %s", log.String())
	}
}

func BenchmarkProgress(b *testing.B) {
	p := onTerminal(io.Discard)
	defer p.close()
	for b.Loop() {
		p.update("reading", 1, 2)
	}
}
