package view

import (
	"bufio"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"thinpool/internal/printable"
)

// A table makes each column as wide as its widest cell.
type table struct {
	title   string // may be empty
	columns []string
	left    []string // left-aligned columns; the others are numbers
	rows    [][]string

	bare   bool // print no column names
	sparse bool // omit columns whose cells are all empty, and the whole table if it has no rows
	// Text before the first cell, between cells, and after the last. Without end, lines have no
	// trailing spaces.
	indent, gap, end string
}

// newTable returns a table for people to read.
func newTable(columns ...string) *table { return &table{columns: columns, indent: "  ", gap: "  "} }

// newGrid is like newTable, for tables with many columns that are often empty. The columns in left
// are left-aligned.
func newGrid(title string, columns, left []string) *table {
	return &table{title: title, columns: columns, left: left, sparse: true, indent: "  ", gap: "  "}
}

// widest limits the width a single cell can force on its column. The last column has no limit.
const widest = 255

func (t *table) add(cells ...string) {
	for i, c := range cells {
		if i < len(cells)-1 && len(c) > widest {
			c = strings.ToValidUTF8(c[:widest], "") + "..."
		}
		cells[i] = printable.Text(c)
	}
	t.rows = append(t.rows, cells)
}

// writeTo writes the table to w, line by line.
func (t *table) writeTo(w io.Writer) error {
	out := bufio.NewWriter(w)
	for line := range t.lines() {
		out.WriteString(line) // out remembers an error
	}
	return out.Flush()
}

// write appends the table to out. A table with a title is set off by a blank line.
func (t *table) write(out *strings.Builder) {
	if t.title != "" && out.Len() > 0 && !t.empty() {
		out.WriteByte('\n')
	}
	for line := range t.lines() {
		out.WriteString(line)
	}
}

// empty reports whether there is nothing to write.
func (t *table) empty() bool { return t.sparse && len(t.rows) == 0 }

// lines are those of the table, with its title.
func (t *table) lines() iter.Seq[string] {
	return func(yield func(string) bool) {
		if t.empty() || t.title != "" && !yield(t.title+"\n") {
			return
		}
		widths := t.widths()
		if !t.bare && !yield(t.line(t.columns, widths)) {
			return
		}
		for _, cells := range t.rows {
			if !yield(t.line(cells, widths)) {
				return
			}
		}
	}
}

// widths returns the column widths; 0 means the column is omitted.
func (t *table) widths() []int {
	widths := make([]int, len(t.columns))
	last := len(widths) - 1
	if t.columns != nil && !t.bare && !t.sparse {
		for i, name := range t.columns {
			widths[i] = len(name)
		}
	}
	for _, cells := range t.rows {
		for i, c := range cells {
			if c != "" {
				widths[i] = max(widths[i], utf8.RuneCountInString(c))
				if t.sparse {
					widths[i] = max(widths[i], len(t.columns[i]))
				}
			}
		}
	}
	if last >= 0 && widths[last] > 0 && t.isLeft(last) {
		widths[last] = 1 // nothing follows on its right
	}
	return widths
}

func (t *table) isLeft(column int) bool { return slices.Contains(t.left, t.columns[column]) }

func (t *table) line(cells []string, widths []int) string {
	var line strings.Builder
	before := t.indent
	for i, c := range cells {
		if widths[i] == 0 && t.sparse {
			continue
		}
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(c)))
		if t.isLeft(i) {
			line.WriteString(before + c + pad)
		} else {
			line.WriteString(before + pad + c)
		}
		before = t.gap
	}
	text := line.String() + t.end
	if t.end == "" {
		text = strings.TrimRight(text, " ")
	}
	return text + "\n"
}
