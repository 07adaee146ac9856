package view

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"thinpool/internal/printable"
)

// A table has columns that are each as wide as their widest cell.
type table struct {
	title   string // empty for none
	columns []string
	left    []string // of them, those that are aligned left; the others are numbers
	rows    [][]string

	bare   bool // without the names of the columns
	sparse bool // columns in which all cells are empty are left out, and so is a table without rows
	// What stands before the first cell, between two, and after the last. If that is nothing
	// lines do not end in spaces.
	indent, gap, end string
}

// newTable returns a table as people read it.
func newTable(columns ...string) *table { return &table{columns: columns, indent: "  ", gap: "  "} }

// newGrid is newTable for what has many columns that are often empty; left are aligned left.
func newGrid(title string, columns, left []string) *table {
	return &table{title: title, columns: columns, left: left, sparse: true, indent: "  ", gap: "  "}
}

// widest bounds what a cell costs all others of its column; only the last column has none below.
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

// writeTo writes the table to w.
func (t *table) writeTo(w io.Writer) error {
	var out strings.Builder
	t.write(&out)
	_, err := io.WriteString(w, out.String())
	return err
}

// write adds the table to out, after an empty line if it has a title and something is there.
func (t *table) write(out *strings.Builder) {
	if t.sparse && len(t.rows) == 0 {
		return
	}
	if t.title != "" {
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		out.WriteString(t.title + "\n")
	}
	lines := t.rows
	if !t.bare {
		lines = append([][]string{t.columns}, lines...)
	}
	widths := t.widths()
	for _, cells := range lines {
		t.line(out, cells, widths)
	}
}

// widths are those of the columns; 0 for those that are left out.
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
		widths[last] = 1 // nothing stands right of it
	}
	return widths
}

func (t *table) isLeft(column int) bool { return slices.Contains(t.left, t.columns[column]) }

func (t *table) line(out *strings.Builder, cells []string, widths []int) {
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
	out.WriteString(text + "\n")
}
