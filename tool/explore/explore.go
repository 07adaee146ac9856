// Package explore, whose API may change, is a model of a person who looks around in metadata: what is on the
// screen, and what each key does to it. It knows no terminal.
//
// A [Model] is a value. [Model.Update] returns the next one, and the [Effects] that somebody else has to bring
// about: jobs, which read the device and answer with a message, text for the clipboard, the end. [Model.View]
// makes lines of a model. None of the three reads, waits or changes anything, so a test presses keys and looks
// at the screen, and a terminal is a loop around them.
//
// What is on the screen is a page: the fields of a superblock, the entries of a node, the counts of a bitmap, or
// what a pass over the device found. Pages lie on a stack, which is the path that was taken. A page has the
// content of one block, or a list with an upper bound, and there are at most so many pages, so that memory does
// not depend on the size of the metadata. Only passes need more: as much as the tool that makes them.
//
// Nothing is trusted. A block is shown as what it holds, not as what its parent takes it for, and where the two
// disagree the page says so. A block that a single flipped bit made invalid is shown as it should be; one that is
// damaged worse is shown as it stands, if its header makes sense.
package explore

import (
	"context"
	"maps"
	"slices"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options say what is explored.
type Options struct {
	Device   block.Device
	Path     string                       // what the device is called
	Snapshot bool                         // begin at the metadata snapshot, and read nothing else: the pool may be in use
	Name     func(metadata.DevID) string  // what LVM calls a device, "" if it does not know it; nil: nothing is known
	DevID    func(string) (uint64, error) // the device that LVM calls so; nil: nothing is known
	// ParseSize reads a size with a unit; nil: sizes are not understood.
	ParseSize func(string) (uint64, error)
	// Export hands a Visitor that writes a dump to write, and puts the dump in the file at path only if write
	// succeeds; nil: there is no export.
	Export func(ctx context.Context, path string, write func(metadata.Visitor) error) error
	// CellWidth is how many columns a character takes; nil: one.
	CellWidth func(rune) int
	NodePath  string // where to begin: see [ParseNodePath]; "" for the superblock
	Doubt     error  // what speaks against its being metadata; nil: nothing
}

// A Msg is what a [Model] is told: [Key], [Size], [Progress], or what a [Job] returns.
type Msg any

// A Key is a key that was pressed: a character, or a name such as "up", "enter", "esc", "pgdown", "ctrl+c".
type Key string

// A Size is that of the screen.
type Size struct{ Width, Height int }

// A Progress says how far a job is. A Total of 0 means unknown.
type Progress struct {
	Job         int
	Phase       string
	Done, Total uint64
}

// A Job reads, away from the model. The message that it returns goes back to the model.
type Job struct {
	ID  int
	Run func(ctx context.Context, progress func(phase string, done, total uint64)) Msg
}

// Effects are what an update wants done.
type Effects struct {
	Jobs   []Job
	Cancel int    // the job with this ID is not wanted any longer; 0: none
	Copy   string // goes to the clipboard; "" for nothing
	Quit   bool
}

// Limits of what is kept.
const (
	mostPages  = 64
	mostCached = 128   // blocks
	mostRows   = 10000 // of a list that a pass made
)

// A Model is what a person sees and has done so far.
type Model struct {
	opt    Options
	limit  block.Nr // blocks of the device
	width  int
	height int

	stack []page
	cache map[block.Nr]*content // blocks that were read; they do not change
	order []block.Nr            // of the cache, the oldest first
	focus pane
	side  int // first line of the side pane that is shown

	status  string // what the last key led to
	isError bool
	prompt  prompt
	search  string

	lastID  int
	reading int   // the job that the next page waits for; 0: none
	pending []Key // that were pressed meanwhile
	pass    pass
	peeking block.Nr // a block that is being read for the side pane
	judging bool     // the blocks that the page leads to are being read
	faults  *faultList
	atFault int // from 1
	help    int // first line of the help that is shown, from 1; 0: no help
}

// A pane is a part of the screen that has the keys.
type pane bool

const (
	list  pane = false
	aside pane = true
)

// A pass is a job that may take long. There is one at a time.
type pass struct {
	id    int
	title string
	at    Progress
}

// New returns a model, and what has to be read first.
func New(opt Options) (Model, Effects) {
	m := Model{
		opt: opt, width: 80, height: 24, cache: map[block.Nr]*content{},
		limit: min(block.Blocks(opt.Device), 2*spacemap.MaxMetadata),
	}
	if opt.Doubt != nil {
		m = m.fail("%s", opt.Doubt)
	}
	if opt.NodePath != "" {
		return m.read(func(_ context.Context, r *reader) found { return r.nodePath(opt.NodePath) })
	}
	return m.read(func(_ context.Context, r *reader) found { return r.start() })
}

// Update returns the model after a message.
func (m Model) Update(msg Msg) (Model, Effects) {
	// The slices and maps of a model are never changed: the old one stays what it was.
	m.stack = slices.Clone(m.stack)
	var e Effects
	switch msg := msg.(type) {
	case Size:
		m.width, m.height = max(msg.Width, leastWidth), max(msg.Height, leastHeight)
	case Key:
		m, e = m.key(msg)
	case Progress:
		if msg.Job == m.pass.id {
			m.pass.at = msg
		}
	case found:
		m, e = m.arrive(msg)
	case peeked:
		m.peeking = 0
		m = m.keep(msg.content)
	case judged:
		m.judging = false
		m.judge(msg)
	}
	if len(m.stack) > 0 {
		m.page().scroll(m.bodyHeight())
	}
	return m.peek(e)
}

// page is the one on the screen; there is one from the first message on.
func (m *Model) page() *page { return &m.stack[len(m.stack)-1] }

// A work is what a job does.
type work func(context.Context, *reader) found

// read starts a job that leads to pages. Keys wait for it.
func (m Model) read(do work) (Model, Effects) {
	m, job := m.job(do)
	m.reading = job.ID
	return m, Effects{Jobs: []Job{job}}
}

// start starts a pass over the device. Keys go on.
func (m Model) start(title string, do work) (Model, Effects) {
	if m.pass.id != 0 {
		return m.fail("%s: not finished yet; Esc ends it", m.pass.title), Effects{}
	}
	m, job := m.job(do)
	m.pass = pass{id: job.ID, title: title}
	return m.say(""), Effects{Jobs: []Job{job}}
}

func (m Model) job(do work) (Model, Job) {
	m.lastID++
	id, opt, limit := m.lastID, m.opt, m.limit
	return m, Job{id, func(ctx context.Context, progress func(string, uint64, uint64)) Msg {
		f := do(ctx, &reader{opt: &opt, limit: limit, progress: progress})
		f.job = id
		return f
	}}
}

// found is what a job came back with.
type found struct {
	job    int
	pages  []page
	push   bool // on what is there; else in place of it
	blocks []*content
	note   string
	err    error
	faults *faultList
	then   func(Model) (Model, Effects) // goes on with what was found; nil: nothing
}

// arrive takes what a job found.
func (m Model) arrive(f found) (Model, Effects) {
	wasPass := f.job == m.pass.id
	switch {
	case f.job == 0 || f.job != m.reading && !wasPass: // given up
		return m, Effects{}
	case wasPass:
		m.pass = pass{}
	default:
		m.reading = 0
	}
	for _, c := range f.blocks {
		m = m.keep(c)
	}
	if f.faults != nil {
		m.faults = f.faults
	}
	if len(f.pages) > 0 {
		m = m.show(f.pages, f.push)
	}
	if f.note != "" {
		m = m.say("%s", f.note)
	}
	if f.err != nil {
		m = m.fail("%s", f.err)
	}
	var e Effects
	if f.then != nil {
		m, e = f.then(m)
	}
	return m.replay(e)
}

// replay handles the keys that were pressed while the model waited.
func (m Model) replay(e Effects) (Model, Effects) {
	for m.reading == 0 && len(m.pending) > 0 && !e.Quit {
		key := m.pending[0]
		m.pending = m.pending[1:]
		var more Effects
		m, more = m.key(key)
		e = e.and(more)
	}
	return m, e
}

func (e Effects) and(more Effects) Effects {
	e.Jobs = append(e.Jobs[:len(e.Jobs):len(e.Jobs)], more.Jobs...)
	e.Quit = e.Quit || more.Quit
	if more.Copy != "" {
		e.Copy = more.Copy
	}
	if more.Cancel != 0 {
		e.Cancel = more.Cancel
	}
	return e
}

// show puts pages on the screen, and forgets the oldest ones if there are too many.
func (m Model) show(pages []page, push bool) Model {
	if push {
		pages = slices.Concat(m.stack, pages)
	}
	m.stack = slices.Clone(pages[max(len(pages)-mostPages, 0):])
	m.focus, m.side = list, 0
	return m
}

// keep puts a block into the cache.
func (m Model) keep(c *content) Model {
	if _, ok := m.cache[c.nr]; ok {
		return m
	}
	m.cache, m.order = maps.Clone(m.cache), append(slices.Clone(m.order), c.nr)
	m.cache[c.nr] = c
	for len(m.order) > mostCached {
		delete(m.cache, m.order[0])
		m.order = m.order[1:]
	}
	return m
}
