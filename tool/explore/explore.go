// Package explore, whose API may change, models somebody looking around in metadata: what the screen shows,
// and what each key does to it. It knows nothing about terminals.
//
// A [Model] is a value. [Model.Update] returns the next one, and the [Effects] that the caller must carry
// out: jobs, which read the device and answer with a message; text for the clipboard; quitting. [Model.View]
// renders a model as lines. None of the three reads, waits or changes anything, so a test presses keys and
// looks at the screen, and a terminal is a loop around them.
//
// The screen shows a page: the fields of a superblock, the entries of a node, the counts of a bitmap, or what
// a pass over the device found. Pages lie on a stack, which is the path taken so far. A page holds one block
// or a list of bounded length, and the number of pages is bounded too, so memory does not depend on the size
// of the metadata. Only passes need more: as much as the tool that makes them.
//
// The package trusts nothing. It shows a block as what it holds, not as what its parent takes it for, and the
// page says where the two disagree. It corrects a block that a single flipped bit made invalid. It shows a
// block with worse damage as it stands, if its header makes sense.
package explore

import (
	"context"
	"maps"
	"slices"

	"thinpool/internal/pdata/spacemap"
	"thinpool/metadata"
	"thinpool/metadata/block"
)

// Options for [New].
type Options struct {
	Device   block.Device
	Path     string                       // name of the device
	Snapshot bool                         // begin at the metadata snapshot and read nothing else: the pool may be in use
	Name     func(metadata.DevID) string  // LVM's name of a device, "" if it has none; nil: no names
	DevID    func(string) (uint64, error) // the device with this name in LVM; nil: no names
	// ParseSize reads a size with a unit; nil: no sizes are accepted.
	ParseSize func(string) (uint64, error)
	// Export passes a Visitor that writes a dump to write. It puts the dump in the file at path only if write
	// succeeds. nil: no export.
	Export func(ctx context.Context, path string, write func(metadata.Visitor) error) error
	// CellWidth returns how many columns a character takes; nil: always one.
	CellWidth func(rune) int
	NodePath  string // where to begin: see [ParseNodePath]; "" for the superblock
	Doubt     error  // why this may not be metadata; nil: no doubt
}

// A Msg is a message to a [Model]: [Key], [Size], [Progress], or the result of a [Job].
type Msg any

// A Key is a pressed key: a character, or a name such as "up", "enter", "esc", "pgdown", "ctrl+c".
type Key string

// A Size is the size of the screen.
type Size struct{ Width, Height int }

// A Progress tells how far a job has come. A Total of 0 means unknown.
type Progress struct {
	Job         int
	Phase       string
	Done, Total uint64
}

// A Job reads the device outside the model. The message it returns goes back to the model.
type Job struct {
	ID  int
	Run func(ctx context.Context, progress func(phase string, done, total uint64)) Msg
}

// Effects are what the caller must do after an update.
type Effects struct {
	Jobs   []Job
	Cancel int    // the job to cancel; 0: none
	Copy   string // text for the clipboard; "": none
	Quit   bool
}

// Limits on what a model keeps.
const (
	mostPages  = 64
	mostCached = 128   // blocks
	mostRows   = 10000 // in a list made by a pass
)

// A Model is what the user sees and has done so far.
type Model struct {
	opt    Options
	limit  block.Nr // number of blocks on the device
	width  int
	height int

	stack []page
	cache map[block.Nr]*content // blocks already read; they do not change
	order []block.Nr            // keys of cache, oldest first
	focus pane
	side  int // first visible line of the side pane

	status  string // result of the last key
	isError bool
	prompt  prompt
	search  string

	lastID  int
	reading int   // the job the next page waits for; 0: none
	pending []Key // keys pressed meanwhile
	pass    pass
	peeking block.Nr // the block being read for the side pane
	judging bool     // the blocks that the page leads to are being read
	faults  *faultList
	atFault int // counts from 1
	help    int // first visible line of the help, from 1; 0: no help
}

// A pane is the part of the screen that keys act on.
type pane bool

const (
	list  pane = false
	aside pane = true
)

// A pass is a job that may take long. Only one runs at a time.
type pass struct {
	id    int
	title string
	at    Progress
}

// New returns a model, and the first reads it needs.
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
	// Update never changes slices and maps in place: the old model stays valid.
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

// page returns the page on the screen. There is one from the first message on.
func (m *Model) page() *page { return &m.stack[len(m.stack)-1] }

// A work is the function a job runs.
type work func(context.Context, *reader) found

// read starts a job that leads to pages. Keys wait for it.
func (m Model) read(do work) (Model, Effects) {
	m, job := m.job(do)
	m.reading = job.ID
	return m, Effects{Jobs: []Job{job}}
}

// start starts a pass over the device. Keys do not wait for it.
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

// found is the result of a job.
type found struct {
	job    int
	pages  []page
	push   bool // on top of the current page; else in its place
	blocks []*content
	note   string
	err    error
	faults *faultList
	then   func(Model) (Model, Effects) // next step with the result; nil: none
}

// arrive handles the result of a job.
func (m Model) arrive(f found) (Model, Effects) {
	wasPass := f.job == m.pass.id
	switch {
	case f.job == 0 || f.job != m.reading && !wasPass: // cancelled
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

// replay handles the keys pressed while the model waited.
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

// show puts pages on the screen, and drops the oldest ones if there are too many.
func (m Model) show(pages []page, push bool) Model {
	if push {
		pages = slices.Concat(m.stack, pages)
	}
	m.stack = slices.Clone(pages[max(len(pages)-mostPages, 0):])
	m.focus, m.side = list, 0
	return m
}

// keep adds a block to the cache.
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
