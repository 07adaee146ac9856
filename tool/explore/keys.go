package explore

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// mostPending limits how many keys wait for a page.
const mostPending = 100

// A prompt is a line of input.
type prompt struct {
	label string // "": no prompt
	text  string
	enter func(Model, string) (Model, Effects)
}

// say puts a message on the line below the page.
func (m Model) say(format string, args ...any) Model {
	m.status, m.isError = fmt.Sprintf(format, args...), false
	return m
}

// fail is say for failures.
func (m Model) fail(format string, args ...any) Model {
	m.status, m.isError = fmt.Sprintf(format, args...), true
	return m
}

func (m Model) key(k Key) (Model, Effects) {
	switch {
	case k == "ctrl+c":
		return m, Effects{Quit: true}
	case m.prompt.label != "":
		return m.typed(k)
	case k == "q" && m.help == 0:
		return m, Effects{Quit: true}
	case k == "esc":
		return m.escape()
	case m.reading != 0 || len(m.stack) == 0:
		if len(m.pending) < mostPending {
			m.pending = append(m.pending[:len(m.pending):len(m.pending)], k)
		}
		return m, Effects{}
	case m.help > 0:
		return m.helpKey(k), Effects{}
	}
	if m.moved(k) {
		return m, Effects{}
	}
	m = m.say("")
	if act, ok := actions()[k]; ok {
		return act(m)
	}
	return m.say("%s does nothing here: ? lists the keys", k), Effects{}
}

// actions lists the keys that do more than move.
func actions() map[Key]func(Model) (Model, Effects) {
	return map[Key]func(Model) (Model, Effects){
		"enter": Model.open, "l": Model.open, "right": Model.open,
		"backspace": Model.back, "h": Model.back, "left": Model.back,
		":": Model.goTo, "/": Model.find, "n": Model.next, "N": Model.previous,
		"o": Model.owners, "c": Model.counts, "r": Model.mappers, "x": Model.bytes,
		"f": Model.nextFault, "F": Model.previousFault, "m": Model.places, "d": Model.compare,
		"e": Model.export, "y": Model.copyPath,
		"?": func(m Model) (Model, Effects) { m.help = 1; return m, Effects{} },
	}
}

// moved handles the keys that move the cursor, or the text in the side pane.
func (m *Model) moved(k Key) bool {
	page, height := m.page(), m.bodyHeight()
	to, most := &page.cursor, len(page.rows)-1
	if m.focus == aside {
		to, most = &m.side, len(m.aside())-height
	}
	switch k {
	case "up", "k":
		*to--
	case "down", "j":
		*to++
	case "pgup", "ctrl+b":
		*to -= height
	case "pgdown", "ctrl+f", "space":
		*to += height
	case "g", "home":
		*to = 0
	case "G", "end":
		*to = most
	case "tab", "shift+tab":
		m.focus = !m.focus
		return true
	default:
		return false
	}
	*to = max(min(*to, most), 0)
	if m.focus == list {
		m.side = 0
	}
	return true
}

// escape cancels what is going on, or clears the message.
func (m Model) escape() (Model, Effects) {
	var e Effects
	switch {
	case m.help > 0:
		m.help = 0
	case m.reading != 0:
		e.Cancel = m.reading
		m.reading, m.pending = 0, nil
		if len(m.stack) == 0 {
			e.Quit = true
		}
		m = m.say("given up")
	case m.pass.id != 0:
		e.Cancel = m.pass.id
		m = m.say("%s: given up", m.pass.title)
		m.pass = pass{}
	default:
		m = m.say("")
	}
	return m, e
}

// typed handles a key while the prompt is open.
func (m Model) typed(k Key) (Model, Effects) {
	p := &m.prompt
	switch {
	case k == "esc":
		*p = prompt{}
	case k == "enter":
		enter, text := p.enter, strings.TrimSpace(p.text)
		*p = prompt{}
		if text == "" {
			return m.say(""), Effects{}
		}
		return enter(m.say(""), text)
	case k == "backspace":
		if p.text == "" {
			*p = prompt{}
			break
		}
		_, n := utf8.DecodeLastRuneInString(p.text)
		p.text = p.text[:len(p.text)-n]
	case k == "ctrl+u":
		p.text = ""
	case k == "space":
		p.text += " "
	case utf8.RuneCountInString(string(k)) == 1 && len(p.text) < 4096:
		p.text += string(k)
	}
	return m, Effects{}
}

func (m Model) ask(label, text string, enter func(Model, string) (Model, Effects)) (Model, Effects) {
	m.prompt = prompt{label, text, enter}
	return m, Effects{}
}

// open opens what the selected row leads to.
func (m Model) open() (Model, Effects) {
	row := m.page().selected()
	switch {
	case row == nil || row.to == nil && row.run == nil:
		return m.say("there is nothing to open here"), Effects{}
	case row.run != nil:
		return row.run(m)
	}
	return m.openPlace(*row.to)
}

func (m Model) openPlace(to place) (Model, Effects) {
	if m.onPath(to.nr) {
		m = m.fail("block %d is on this path already: the tree has a loop, or you have gone back up", to.nr)
	}
	if c, ok := m.cache[to.nr]; ok {
		return m.show([]page{blockPage(&m.opt, m.limit, to, c)}, true), Effects{}
	}
	return m.read(func(_ context.Context, r *reader) found { return r.open(to) })
}

// onPath reports whether a block is on the path to the page.
func (m Model) onPath(nr block.Nr) bool {
	for _, p := range m.path() {
		if p == nr {
			return true
		}
	}
	return false
}

// path returns the blocks that lead to the page, from the last superblock or list on.
func (m Model) path() []block.Nr {
	var nrs []block.Nr
	for i := range m.stack {
		switch p := &m.stack[i]; {
		case p.block == nil || p.place.tree == superblocks && !p.hex && len(nrs) > 0 && p.place.nr == 0:
			nrs = nil
			if p.block != nil {
				nrs = append(nrs, p.block.nr)
			}
		case !p.hex:
			nrs = append(nrs, p.block.nr)
		}
	}
	return nrs
}

// back leaves the page.
func (m Model) back() (Model, Effects) {
	if len(m.stack) == 1 {
		return m.say("this is where the path begins; q quits"), Effects{}
	}
	m.stack = m.stack[:len(m.stack)-1]
	m.focus, m.side = list, 0
	return m, Effects{}
}

func (m Model) find() (Model, Effects) {
	return m.ask("/", "", func(m Model, text string) (Model, Effects) {
		m.search = text
		return m.next()
	})
}

func (m Model) next() (Model, Effects)     { return m.searched(1), Effects{} }
func (m Model) previous() (Model, Effects) { return m.searched(-1), Effects{} }

func (m Model) searched(step int) Model {
	switch {
	case m.search == "":
		return m.say("nothing to search for: / first")
	case !m.page().find(m.search, step):
		return m.fail("no %q on this page", m.search)
	}
	return m
}

// bytes switches between the bytes of the block and its entries.
func (m Model) bytes() (Model, Effects) {
	p := m.page()
	switch {
	case p.hex:
		return m.back()
	case p.block == nil:
		return m.say("x shows the bytes of a block: open one first"), Effects{}
	}
	return m.show([]page{hexPage(p, m.limit)}, true), Effects{}
}

// copyPath copies the path to the clipboard.
func (m Model) copyPath() (Model, Effects) {
	var words []string
	for _, nr := range m.path() {
		words = append(words, fmt.Sprint(uint64(nr)))
	}
	text := strings.Join(words, "/")
	if text == "" {
		return m.say("there is no path of blocks here"), Effects{}
	}
	return m.say("copied %s (thin_explore -p %s)", text, text), Effects{Copy: text}
}

// super returns the superblock the path begins at, or else the live one.
func (m Model) super() block.Nr {
	if p := m.page().place; p != nil && p.top != 0 {
		return p.top
	}
	for i := len(m.stack) - 1; i >= 0; i-- {
		if p := m.stack[i].place; p != nil && p.tree == superblocks {
			return p.nr
		}
	}
	return metadata.SuperblockLocation
}

// device returns the device whose mappings the page has.
func (m Model) device() *metadata.DevID {
	for i := len(m.stack) - 1; i >= 0; i-- {
		if p := m.stack[i].place; p != nil && p.dev != nil {
			return p.dev
		}
	}
	return nil
}

// toDevice goes to a device and, if thin is not nil, to a thin block of it.
func (m Model) toDevice(id metadata.DevID, thin *uint64) (Model, Effects) {
	top := m.super()
	return m.read(func(ctx context.Context, r *reader) found { return r.device(ctx, top, id, thin) })
}
