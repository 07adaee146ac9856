package damage

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// A Table counts cases by kind of damage. It is safe for concurrent use.
type Table struct {
	mu     sync.Mutex
	peers  []string
	rows   map[string]*row
	Failed int // cases with an unmet requirement
}

type row struct {
	cases, contradict, detected, beyond int
	questions                           int     // cases in which a state must be chosen
	behind                              int     // cases in which a peer saved more than we did
	total                               uint64  // mappings
	tools                               []score // ours, then the peers'
}

type score struct {
	saved  uint64
	silent int
	// Numbers of cases with false mappings not called guessed, with a wrong state (the right one
	// named or not), and with devices that never existed.
	confirmed, named, unnamed, phantoms int
}

// NewTable returns an empty table for our repair and those of peers.
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
		if c.question {
			r.questions++
		}
		r.total += c.Image.Truth.Mappings()
		for i, s := range salvages {
			r.tools[i].add(s)
		}
	}
}

func (t *score) add(s *Salvage) {
	t.saved += s.Saved
	for _, n := range [...]struct {
		count *int
		when  bool
	}{
		{&t.silent, s.Silent},
		{&t.confirmed, s.Confirmed > 0},
		{&t.named, s.WrongState && s.Named},
		{&t.unnamed, s.WrongState && !s.Named},
		{&t.phantoms, s.Phantoms > 0},
	} {
		if n.when {
			*n.count++
		}
	}
}

// Markdown writes the table as two tables with the same rows.
func (t *Table) Markdown(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := grid{{"damage", "cases", "to be detected", "detected", "beyond detection"}}
	second := grid{{"damage", "cases", "wrong but confirmed, ours", "a state to choose", "wrong state, ours: named", "not named"}}
	tools := append([]string{"ours"}, t.peers...)
	for _, name := range tools {
		first[0] = append(first[0], "saved, "+name)
	}
	for _, name := range tools {
		first[0] = append(first[0], "silent loss, "+name)
	}
	if len(t.peers) > 0 {
		first[0] = append(first[0], "others saved more")
	}
	for _, name := range t.peers {
		second[0] = append(second[0], "wrong state, "+name)
	}
	for _, name := range tools {
		second[0] = append(second[0], "phantom devices, "+name)
	}
	for _, name := range append(rows(), "all") {
		if r := t.rows[name]; r != nil {
			first, second = append(first, r.losses(name)), append(second, r.choices(name))
		}
	}
	_, err := io.WriteString(w, first.String()+"\n"+second.String())
	return err
}

// losses returns a row of the first table.
func (r *row) losses(name string) []string {
	cells := []string{name, fmt.Sprint(r.cases), fmt.Sprint(r.contradict), fmt.Sprint(r.detected), fmt.Sprint(r.beyond)}
	for _, s := range r.tools {
		cells = append(cells, percent(s.saved, r.total))
	}
	for _, s := range r.tools {
		cells = append(cells, fmt.Sprint(s.silent))
	}
	if len(r.tools) > 1 {
		cells = append(cells, fmt.Sprint(r.behind))
	}
	return cells
}

// choices returns a row of the second table.
func (r *row) choices(name string) []string {
	ours := &r.tools[0]
	cells := []string{name, fmt.Sprint(r.cases), fmt.Sprint(ours.confirmed), fmt.Sprint(r.questions), fmt.Sprint(ours.named), fmt.Sprint(ours.unnamed)}
	for _, s := range r.tools[1:] { // peers do not name any
		cells = append(cells, fmt.Sprint(s.unnamed))
	}
	for _, s := range r.tools {
		cells = append(cells, fmt.Sprint(s.phantoms))
	}
	return cells
}

// A grid is the cells of a table by row. The first row is the header.
type grid [][]string

func (g grid) String() string {
	line := make([]string, len(g[0]))
	for i := range line {
		line[i] = "---:"
	}
	line[0] = "---"
	text := ""
	for _, cells := range slices.Insert(slices.Clone(g), 1, line) {
		text += "| " + strings.Join(cells, " | ") + " |\n"
	}
	return text
}

// percent never rounds up to 100, so that an incomplete result is visible.
func percent(n, of uint64) string {
	switch {
	case of == 0:
		return "-"
	case n == of:
		return "100 %"
	}
	return fmt.Sprintf("%.2f %%", min(99.99, 100*float64(n)/float64(of)))
}
