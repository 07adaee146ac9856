package lab

import (
	"fmt"
	"io"
	"slices"
	"sync"
)

// A Table counts the cases by kind of damage. It is safe for concurrent use.
type Table struct {
	mu     sync.Mutex
	peers  []string
	rows   map[string]*row
	Failed int // cases in which a demand was not met
}

type row struct {
	cases, contradict, detected, beyond int
	behind                              int     // cases in which a peer saved more than we
	total                               uint64  // mappings
	tools                               []score // ours, then those of the peers
}

type score struct {
	saved  uint64
	silent int
}

// NewTable returns an empty table of our repair and those of peers.
func NewTable(peers []Peer) *Table {
	t := &Table{rows: map[string]*row{}}
	for _, p := range peers {
		t.peers = append(t.peers, p.Name)
	}
	return t
}

// add counts a case.
func (t *Table) add(c *Case, d *Detection, salvages []*Salvage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range [...]string{c.Kind, "all"} {
		r := t.rows[name]
		if r == nil {
			r = &row{tools: make([]score, 1+len(t.peers))}
			t.rows[name] = r
		}
		r.cases++
		if d.Contradicts {
			r.contradict++
		} else if d.Changed {
			r.beyond++
		}
		if d.Contradicts && d.Detected {
			r.detected++
		}
		if slices.ContainsFunc(salvages, func(s *Salvage) bool { return s.Saved > salvages[0].Saved }) {
			r.behind++
		}
		r.total += c.Image.Truth.Mappings()
		for i, s := range salvages {
			r.tools[i].saved += s.Saved
			if s.Silent {
				r.tools[i].silent++
			}
		}
	}
}

// Markdown writes the table.
func (t *Table) Markdown(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	tools := append([]string{"ours"}, t.peers...)
	head, line := "| damage | cases | to be detected | detected | beyond detection |", "| --- | ---: | ---: | ---: | ---: |"
	for _, name := range tools {
		head, line = head+" saved, "+name+" |", line+" ---: |"
	}
	for _, name := range tools {
		head, line = head+" silent loss, "+name+" |", line+" ---: |"
	}
	if len(t.peers) > 0 {
		head, line = head+" others saved more |", line+" ---: |"
	}
	text := head + "\n" + line + "\n"
	for _, name := range append(rows(), "all") {
		r := t.rows[name]
		if r == nil {
			continue
		}
		text += fmt.Sprintf("| %s | %d | %d | %d | %d |", name, r.cases, r.contradict, r.detected, r.beyond)
		for _, s := range r.tools {
			text += fmt.Sprintf(" %s |", percent(s.saved, r.total))
		}
		for _, s := range r.tools {
			text += fmt.Sprintf(" %d |", s.silent)
		}
		if len(t.peers) > 0 {
			text += fmt.Sprintf(" %d |", r.behind)
		}
		text += "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// percent never rounds up to 100: what is not all must not look like it.
func percent(n, of uint64) string {
	switch {
	case of == 0:
		return "-"
	case n == of:
		return "100 %"
	}
	return fmt.Sprintf("%.2f %%", min(99.99, 100*float64(n)/float64(of)))
}
