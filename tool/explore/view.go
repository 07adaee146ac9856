package explore

import (
	"fmt"
	"slices"
	"strings"

	"thinpool/internal/printable"
	"thinpool/metadata"
)

// A Style says how a Span looks. The look never carries information of its own.
type Style uint8

const (
	Plain    Style = iota
	Title          // the top line
	Heading        // what the page is
	Dim            // less important
	Bad            // damage or failure
	Selected       // the row that keys act on
	Chosen         // the same while the other pane has the keys
)

// A Span is text in one style.
type Span struct {
	Text  string
	Style Style
}

type Line []Span

// String returns the text of a line.
func (l Line) String() string {
	var s strings.Builder
	for _, span := range l {
		s.WriteString(span.Text)
	}
	return strings.TrimRight(s.String(), " ")
}

// The smallest screen, and the least width for two panes.
const (
	leastWidth  = 20
	leastHeight = 6
	twoPanes    = 72
	mostLabel   = 80 // columns of the list, if there is room
)

// chrome counts the lines around the page: title, heading and rule above, rule, message and keys below.
const chrome = 5

func (m *Model) bodyHeight() int { return max(m.height-chrome, 1) }

// widths returns the widths of the list and the side pane; 0 for a hidden one.
func (m *Model) widths() (list, side int) {
	switch {
	case len(m.stack) > 0 && m.page().hex && m.focus != aside:
		return m.width, 0
	case m.width < twoPanes && m.focus == aside:
		return 0, m.width
	case m.width < twoPanes:
		return m.width, 0
	}
	list = min(m.width*5/8, mostLabel)
	return list, m.width - list - 1
}

// View renders the screen: as many lines as it has, each as wide as it is.
func (m Model) View() []Line {
	if m.help > 0 {
		return m.helpView()
	}
	lines := []Line{m.titleLine(), m.headingLine(), m.rule()}
	lines = append(lines, m.body()...)
	lines = append(lines, m.messageLine(), m.keyLine())
	for len(lines) > m.height && len(lines) > 1 {
		lines = slices.Delete(lines, len(lines)-2, len(lines)-1)
	}
	return lines
}

// Text returns the screen as plain text.
func (m Model) Text() string {
	var s strings.Builder
	for _, line := range m.View() {
		s.WriteString(line.String() + "\n")
	}
	return s.String()
}

func (m *Model) rule() Line { return Line{{strings.Repeat("-", m.width), Dim}} }

// titleLine names the device and the path.
func (m *Model) titleLine() Line {
	var words []string
	if len(m.stack) > 0 {
		for _, nr := range m.path() {
			words = append(words, fmt.Sprint(uint64(nr)))
		}
	}
	path := strings.Join(words, " > ")
	name := " thin_explore  " + m.opt.Path
	if m.opt.Snapshot {
		name += "  metadata snapshot"
	}
	room := m.width - m.textWidth(name) - len("  ") - 1
	if room < 8 { // the end of the path matters more than the name
		name, room = " "+m.fitEnd(m.opt.Path, max(m.width/2-2, 1)), m.width-m.width/2-2
	}
	return Line{{m.fit(name+"  "+m.fitEnd(path, room), m.width), Title}}
}

func (m *Model) headingLine() Line {
	if len(m.stack) == 0 {
		return Line{{m.fit(" reading the superblock", m.width), Heading}}
	}
	p := m.page()
	text, style := " "+p.title, Heading
	if p.block != nil && p.block.damaged() || slices.ContainsFunc(p.notes, func(note string) bool { return strings.HasPrefix(note, "!") }) {
		text, style = " ! "+p.title, Bad
	}
	position := ""
	if n := len(p.rows); n > m.bodyHeight() {
		position = fmt.Sprintf(" %d/%d ", p.cursor+1, n)
	}
	return Line{{m.fit(text, m.width-len(position)), style}, {position, Dim}}
}

// body returns the lines of the page and of the side pane.
func (m *Model) body() []Line {
	height := m.bodyHeight()
	list, side := m.widths()
	var left, right []Line
	if list > 0 {
		left = m.list(list)
	}
	if side > 0 {
		for _, text := range m.wrapped(m.aside(), side-1) {
			style := Plain
			switch {
			case strings.HasPrefix(text, "!"):
				style = Bad
			case strings.HasSuffix(text, ":") && !strings.HasPrefix(text, " "):
				style = Heading
			}
			right = append(right, Line{{m.fit(" "+text, side), style}})
		}
		right = right[min(m.side, max(len(right)-1, 0)):]
	}
	lines := make([]Line, height)
	for i := range lines {
		if list > 0 {
			lines[i] = append(lines[i], lineOf(left, i, m.fit("", list))...)
		}
		if list > 0 && side > 0 {
			lines[i] = append(lines[i], Span{"|", Dim})
		}
		if side > 0 {
			lines[i] = append(lines[i], lineOf(right, i, m.fit("", side))...)
		}
	}
	return lines
}

func lineOf(lines []Line, i int, blank string) Line {
	if i < len(lines) {
		return lines[i]
	}
	return Line{{blank, Plain}}
}

// list returns the visible rows. A mark before a row says that it is selected, or bad.
func (m *Model) list(width int) []Line {
	if len(m.stack) == 0 {
		return nil
	}
	p := m.page()
	if len(p.rows) == 0 {
		return []Line{{{m.fit("   "+p.none, width), Dim}}}
	}
	var lines []Line
	for i := p.first; i < min(p.first+m.bodyHeight(), len(p.rows)); i++ {
		row, mark, style := &p.rows[i], " ", Plain
		damage := " "
		if row.bad || m.known(row) {
			damage, style = "!", Bad
		}
		if i == p.cursor {
			mark, style = ">", Selected
			if m.focus == aside {
				style = Chosen
			}
		}
		lines = append(lines, Line{{m.fit(mark+damage+" "+row.text, width), style}})
	}
	return lines
}

// known reports whether the block that a row leads to was read and is bad.
func (m *Model) known(row *row) bool {
	if row.to == nil {
		return false
	}
	c := m.cache[row.to.nr]
	return c != nil && c.wrongAt(row.to)
}

// aside returns the text of the side pane, not wrapped yet.
func (m *Model) aside() []string {
	if len(m.stack) == 0 {
		return nil
	}
	p := m.page()
	lines := slices.Clone(p.notes)
	row := p.selected()
	if row == nil {
		return lines
	}
	if len(row.about) > 0 {
		lines = append(append(lines, "", "selected:"), row.about...)
	}
	if size := m.dataBlockSize(); row.data != nil && size > 0 && uint64(row.data.first) < metadata.MaxDataBlocks {
		lines = append(lines, fmt.Sprintf("at byte %d of the data device", uint64(row.data.first)*size))
	}
	if row.to != nil {
		lines = append(lines, "", "leads to:")
		if c := m.cache[row.to.nr]; c != nil {
			lines = append(lines, c.summary()...)
			if why := (&builder{at: *row.to, c: c}).surprise(); why != "" {
				lines = append(lines, "! "+why)
			}
		} else {
			lines = append(lines, fmt.Sprintf("block %d", row.to.nr))
		}
	}
	return lines
}

// wrapped breaks lines at spaces, and inside words that are too long. It indents continuation lines.
func (m *Model) wrapped(lines []string, width int) (out []string) {
	for _, line := range lines {
		line = clean(line)
		indent := ""
		for m.textWidth(indent+line) > width {
			cut, column, last := 0, len(indent), 0
			for i, r := range line {
				w := m.cell(r)
				if column+w > width {
					break
				}
				column += w
				cut = i + len(string(r))
				if r == ' ' && i > 1 {
					last = i
				}
			}
			if last > 0 {
				cut = last
			}
			if cut == 0 {
				break
			}
			out = append(out, indent+strings.TrimRight(line[:cut], " "))
			line = strings.TrimLeft(line[cut:], " ")
			if strings.HasPrefix(out[len(out)-1], "!") {
				indent = "! "
			} else if indent == "" {
				indent = "  "
			}
		}
		out = append(out, indent+line)
	}
	return out
}

// messageLine shows the prompt, or the progress of a pass, or the result of the last key.
func (m *Model) messageLine() Line {
	switch p := &m.prompt; {
	case p.label != "":
		return Line{{" " + m.fit(m.fitEnd(p.label+p.text+"_", m.width-1), m.width-1), Plain}}
	case m.status != "" && m.isError:
		return Line{{m.fit(" ! "+m.status, m.width), Bad}}
	case m.status != "":
		return Line{{m.fit(" "+m.status, m.width), Plain}}
	case m.pass.id != 0:
		text := " " + m.pass.title + "..."
		if at := m.pass.at; at.Phase != "" {
			text += " " + at.Phase
			if at.Total > 0 {
				text += fmt.Sprintf(" %d %%", min(at.Done, at.Total)*100/at.Total)
			}
		}
		return Line{{m.fit(text+" (Esc: stop)", m.width), Plain}}
	case m.reading != 0:
		return Line{{m.fit(" reading... (Esc: stop)", m.width), Plain}}
	}
	return Line{{m.fit("", m.width), Plain}}
}

// keyLine names the most useful keys here.
func (m *Model) keyLine() Line {
	text := " Enter open  h back  : go to  o owners  x bytes  f fault  ? help  q quit"
	switch {
	case m.prompt.label != "":
		text = " Enter: do it  Esc: give up  ^U: clear"
	case m.focus == aside:
		text = " up, down: scroll  Tab: back to the list  ? help  q quit"
	case m.width < 60:
		text = " Enter open  h back  Tab about  ? help"
	}
	return Line{{m.fit(text, m.width), Dim}}
}

// clean makes text one line that is safe to print on a terminal.
func clean(text string) string {
	if strings.ContainsAny(text, "\n\t") {
		text = strings.NewReplacer("\n", "; ", "\t", " ").Replace(text)
	}
	return printable.Lines(text)
}

func (m *Model) cell(r rune) int {
	if m.opt.CellWidth == nil || r < 0x80 {
		return 1
	}
	return m.opt.CellWidth(r)
}

func (m *Model) textWidth(text string) (n int) {
	for _, r := range text {
		n += m.cell(r)
	}
	return n
}

// fit pads or cuts text to exactly width columns. Cut text ends in "~".
func (m *Model) fit(text string, width int) string {
	text = clean(text)
	if m.textWidth(text) > width {
		text, _ = m.cut(text, width-1)
		text += "~"
	}
	return text + strings.Repeat(" ", max(width-m.textWidth(text), 0))
}

// fitEnd does the same, but cuts the beginning.
func (m *Model) fitEnd(text string, width int) string {
	text = clean(text)
	over := m.textWidth(text) - width
	if over <= 0 {
		return text
	}
	_, rest := m.cut(text, over+1)
	return "~" + rest
}

// cut splits text before the character that would go beyond column width.
func (m *Model) cut(text string, width int) (head, rest string) {
	column := 0
	for i, r := range text {
		if column += m.cell(r); column > width {
			return text[:i], text[i:]
		}
	}
	return text, ""
}
