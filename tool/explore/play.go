package explore

import (
	"context"
	"slices"
	"strings"
)

// names lists the keys with names longer than one character.
var names = []string{
	"enter", "esc", "backspace", "tab", "space", "up", "down", "left", "right", "pgup", "pgdown", "home", "end",
	"ctrl+c", "ctrl+u", "ctrl+b", "ctrl+f",
}

// Keys returns the keys of a script of words. A word that does not name a key is typed.
func Keys(script string) (keys []Msg) {
	for word := range strings.FieldsSeq(script) {
		if slices.Contains(names, word) {
			keys = append(keys, Key(word))
			continue
		}
		for _, r := range word {
			keys = append(keys, Key(string(r)))
		}
	}
	return keys
}

// Play sends messages to a model, and carries out all effects of each before the next. Scripts and tests use
// it. It ends early if the model quits or ctx is done.
func Play(ctx context.Context, m Model, e Effects, msgs ...Msg) Model {
	for {
		var ok bool
		if m, ok = settle(ctx, m, e); !ok || len(msgs) == 0 || ctx.Err() != nil {
			return m
		}
		m, e = m.Update(msgs[0])
		msgs = msgs[1:]
	}
}

// settle runs all jobs of effects, and those that follow. It reports whether the model goes on.
func settle(ctx context.Context, m Model, e Effects) (Model, bool) {
	jobs := e.Jobs
	quit := e.Quit
	for len(jobs) > 0 && !quit {
		msg := jobs[0].Run(ctx, func(string, uint64, uint64) {})
		jobs = jobs[1:]
		var more Effects
		m, more = m.Update(msg)
		jobs = append(jobs, more.Jobs...)
		quit = more.Quit
	}
	return m, !quit
}
