package lvm

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"thinpool/internal/printable"
	"thinpool/lvm/internal/text"
)

// A Group is a volume group as described by its text. Sizes are in extents or in sectors of 512
// bytes, as in LVM, unless the name or comment says bytes. In all strings, characters that are
// unsafe to print are escaped. Text and Section are unescaped.
type Group struct {
	Name, ID         string
	Seqno            uint64 // incremented by each change
	Format           string
	Status, Flags    []string
	Tags             []string
	ExtentSize       uint64 // sectors
	MaxLV, MaxPV     uint64 // 0: no limit
	MetadataCopies   uint64
	SystemID         string
	LockType         string
	AllocationPolicy string
	Profile          string
	PVs              []*PhysicalVolume // in text order, like all lists here
	LVs              []*Volume

	Description  string // LVM's note about the last change
	CreationHost string
	CreationTime int64

	Section  *Section  // of the group, including keys without a field in this struct
	Text     []byte    // the whole text, without the final NUL
	Problems []Problem // oddities of the group and its physical volumes

	pvs, pvByID map[string]*PhysicalVolume
	lvs         map[string]*Volume
	// doubt is the reason not to write to the group; nil if there is none.
	doubt error
	crc   uint32 // of the text on disk
}

// A PhysicalVolume is a physical volume as described by its group's text.
type PhysicalVolume struct {
	Name     string // within the text only: pv0, pv1, ...
	ID       string
	Device   string // last known path: a hint
	Status   []string
	Flags    []string
	Tags     []string
	DevSize  uint64 // sectors
	Start    uint64 // first extent, sectors
	Extents  uint64
	DeviceID string
	Section  *Section

	// Disk is where it was found; nil if missing.
	Disk *Disk
	// Twice lists all disks with this id if there is more than one. Then none is used.
	Twice []*Disk
}

// Missing reports whether LVM has marked it as missing: its data may be stale.
func (pv *PhysicalVolume) Missing() bool {
	return slices.Contains(pv.Flags, "MISSING") || slices.Contains(pv.Status, "MISSING")
}

// A Volume is a logical volume.
type Volume struct {
	Name, ID      string
	Status, Flags []string
	Tags          []string
	CreationHost  string
	CreationTime  int64
	Extents       uint64
	Size          int64     // bytes
	Segments      []Segment // in the order of the volume, without gaps
	Section       *Section
}

// Visible reports whether the volume is not hidden by LVM.
func (v *Volume) Visible() bool { return slices.Contains(v.Status, "VISIBLE") }

// Type returns the type of the first segment; empty if there are no segments.
func (v *Volume) Type() string {
	if len(v.Segments) == 0 {
		return ""
	}
	return v.Segments[0].Type
}

// Thin returns the thin volume's settings; nil if v is not a thin volume.
func (v *Volume) Thin() *Thin {
	if len(v.Segments) == 0 {
		return nil
	}
	return v.Segments[0].Thin
}

// ThinPool returns the pool's settings; nil if v is not a thin pool.
func (v *Volume) ThinPool() *ThinPool {
	if len(v.Segments) == 0 {
		return nil
	}
	return v.Segments[0].ThinPool
}

// Volume returns the logical volume with the given name, or nil.
func (g *Group) Volume(name string) *Volume { return g.lvs[name] }

// PV returns the physical volume with a name such as pv0, or nil.
func (g *Group) PV(name string) *PhysicalVolume { return g.pvs[name] }

// Lacks returns the missing physical volumes that v uses, directly or through other volumes, in
// text order. With mirrors or parity, v may still be readable.
func (g *Group) Lacks(v *Volume) []*PhysicalVolume {
	seen, needed := map[*Volume]bool{v: true}, map[*PhysicalVolume]bool{}
	for todo := []*Volume{v}; len(todo) > 0; {
		v, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for i := range v.Segments {
			for _, name := range v.Segments[i].below() {
				if pv := g.PV(name); pv != nil {
					needed[pv] = true
				} else if lv := g.Volume(name); lv != nil && !seen[lv] {
					seen[lv] = true
					todo = append(todo, lv)
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(g.PVs), func(pv *PhysicalVolume) bool { return !needed[pv] || pv.Disk != nil })
}

// extentBytes returns the size of an extent in bytes.
func (g *Group) extentBytes() int64 { return int64(g.ExtentSize) * sector }

// Known status words. LVM refuses a group with others.
var (
	groupStatus  = []string{"RESIZEABLE", "READ", "WRITE", "EXPORTED", "PVMOVE", "CLUSTERED", "SHARED"}
	pvStatus     = []string{"ALLOCATABLE", "EXPORTED", "MISSING"}
	volumeStatus = []string{"READ", "WRITE", "VISIBLE", "FIXED_MINOR", "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY"}
)

const (
	contents    = "Text Format Volume Group"
	textVersion = 1
	mostName    = 127
	mostExtent  = 1 << 40 // sectors; far more than LVM accepts
)

// ParseGroup parses a text as found on physical volumes, with or without the final NUL. If the
// error concerns a line, it is a [text.Error].
func ParseGroup(p []byte) (*Group, error) {
	root, problems, err := text.Parse(p)
	return makeGroup(p, root, problems, err)
}

// ParseBackup parses a file written by vgcfgbackup, or a file of LVM's archive.
func ParseBackup(p []byte) (*Group, error) {
	root, problems, err := text.ParseFile(p)
	return makeGroup(p, root, problems, err)
}

func makeGroup(p []byte, root *text.Section, problems []text.Problem, err error) (*Group, error) {
	if err != nil {
		return nil, err
	}
	if n := slices.Index(p, 0); n >= 0 {
		p = p[:n]
	}
	top := fields{s: root}
	top.need("contents", "version")
	switch is, version := top.str("contents"), top.uint("version"); {
	case top.err != nil:
		return nil, top.err
	case is != contents || version != textVersion:
		return nil, &text.Error{Line: 1, Reason: fmt.Sprintf("contents %q, version %d: want %q, version %d", is, version, contents, textVersion)}
	}
	sections := root.Sections()
	if len(sections) != 1 {
		return nil, &text.Error{Line: 1, Reason: fmt.Sprintf("%d sections, want one volume group", len(sections))}
	}
	g := &Group{
		Name: sections[0].Key, Section: sections[0].Section, Text: p,
		Description: top.str("description"), CreationHost: top.str("creation_host"), CreationTime: top.int("creation_time"),
		pvs: map[string]*PhysicalVolume{}, pvByID: map[string]*PhysicalVolume{}, lvs: map[string]*Volume{},
	}
	if top.err != nil {
		return nil, top.err
	}
	for _, p := range problems {
		g.problem("%v", p)
		g.distrust("%v", p)
	}
	return g, g.decode()
}

func (g *Group) decode() error {
	if err := checkName(g.Name, g.Section.Line); err != nil {
		return err
	}
	f := fields{s: g.Section}
	f.need("id", "seqno", "extent_size", "status")
	g.ID, g.Seqno = f.str("id"), f.uint("seqno")
	g.Format = f.str("format")
	g.Status, g.Flags, g.Tags = f.words("status", groupStatus), f.strings("flags"), f.strings("tags")
	g.ExtentSize = f.uint("extent_size")
	g.MaxLV, g.MaxPV, g.MetadataCopies = f.uint("max_lv"), f.uint("max_pv"), f.uint("metadata_copies")
	g.SystemID, g.LockType = f.str("system_id"), f.str("lock_type")
	g.AllocationPolicy, g.Profile = f.str("allocation_policy"), f.str("profile")
	if f.err == nil && (g.ExtentSize == 0 || g.ExtentSize > mostExtent) {
		f.fail("extent_size", "extents of %d sectors", g.ExtentSize)
	}
	if f.err != nil {
		return f.err
	}
	if s := g.Section.Section("physical_volumes"); s != nil {
		for _, e := range s.Sections() {
			if err := g.addPV(e); err != nil {
				return fmt.Errorf("%s: %w", printable.Text(e.Key), err)
			}
		}
	}
	if s := g.Section.Section("logical_volumes"); s != nil {
		for _, e := range s.Sections() {
			if err := g.addVolume(e); err != nil {
				return fmt.Errorf("%s/%s: %w", g.Name, printable.Text(e.Key), err)
			}
		}
	}
	return nil
}

func (g *Group) addPV(e *text.Entry) error {
	f := fields{s: e.Section}
	f.need("id", "pe_start", "pe_count", "status")
	pv := &PhysicalVolume{
		Name: printable.Text(e.Key), ID: f.str("id"), Device: f.str("device"), Section: e.Section,
		Status: f.words("status", pvStatus), Flags: f.strings("flags"), Tags: f.strings("tags"),
		DevSize: f.uint("dev_size"), Start: f.uint("pe_start"), Extents: f.uint("pe_count"),
		DeviceID: f.str("device_id"),
	}
	if f.err == nil && (pv.Start > mostBytes/sector || pv.Extents > (mostBytes/sector-pv.Start)/g.ExtentSize) {
		f.fail("pe_count", "%d extents from sector %d on", pv.Extents, pv.Start)
	}
	if g.pvByID[pv.ID] != nil {
		f.fail("id", "another physical volume has the id %s", pv.ID)
	}
	g.PVs, g.pvs[pv.Name], g.pvByID[pv.ID] = append(g.PVs, pv), pv, pv
	return f.err
}

// mostBytes keeps all arithmetic within 64 bits.
const mostBytes = math.MaxInt64 / 4

func (g *Group) addVolume(e *text.Entry) error {
	if err := checkName(e.Key, e.Line); err != nil {
		return err
	}
	f := fields{s: e.Section}
	f.need("id", "status", "segment_count")
	v := &Volume{
		Name: e.Key, ID: f.str("id"), Section: e.Section,
		Status: f.words("status", volumeStatus), Flags: f.strings("flags"), Tags: f.strings("tags"),
		CreationHost: f.str("creation_host"), CreationTime: f.int("creation_time"),
	}
	count := f.uint("segment_count")
	if f.err != nil {
		return f.err
	}
	for _, e := range e.Section.Sections() {
		if !isSegment(e.Key) {
			continue
		}
		s, err := g.segment(e.Section)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Key, err)
		}
		v.Segments = append(v.Segments, s)
	}
	if uint64(len(v.Segments)) != count {
		return f.fail("segment_count", "segment_count is %d, but there are %d segments", count, len(v.Segments))
	}
	sort.SliceStable(v.Segments, func(i, j int) bool { return v.Segments[i].Start < v.Segments[j].Start })
	for _, s := range v.Segments {
		switch {
		case s.Start != v.Extents:
			return &text.Error{Line: s.Section.Line, Reason: fmt.Sprintf("a segment begins at extent %d, want %d", s.Start, v.Extents)}
		case s.Extents > mostBytes/sector/g.ExtentSize-v.Extents:
			return &text.Error{Line: s.Section.Line, Reason: fmt.Sprintf("a segment of %d extents", s.Extents)}
		}
		v.Extents += s.Extents
	}
	v.Size = int64(v.Extents) * g.extentBytes()
	g.LVs, g.lvs[v.Name] = append(g.LVs, v), v
	return nil
}

func isSegment(key string) bool {
	nr, ok := strings.CutPrefix(key, "segment")
	return ok && nr != "" && strings.Trim(nr, "0123456789") == ""
}

// checkName refuses names that LVM does not allow. Names may become file names.
func checkName(name string, line int) error {
	bad := name == "" || name == "." || name == ".." || name[0] == '-' || len(name) > mostName
	for _, c := range []byte(name) {
		bad = bad || !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("+_.-", c) >= 0)
	}
	if bad {
		return &text.Error{Line: line, Reason: fmt.Sprintf("%q is not a valid LVM name", name)}
	}
	return nil
}

// fields reads values from a section and keeps the first error. Unsafe characters in strings are
// escaped, so that they are escaped in all messages about the group. LVM does not allow such names,
// so they refer to nothing, escaped or not.
type fields struct {
	s   *text.Section
	err error
}

func (f *fields) fail(key, format string, args ...any) error {
	line := f.s.Line
	if e := f.s.Get(key); e != nil {
		line = e.Line
	}
	if f.err == nil {
		f.err = &text.Error{Line: line, Reason: fmt.Sprintf(format, args...)}
	}
	return f.err
}

// need adds an error unless all keys exist.
func (f *fields) need(keys ...string) {
	for _, key := range keys {
		if f.s.Get(key) == nil {
			f.fail(key, "there is no %s", key)
		}
	}
}

func (f *fields) keep(err error) {
	if f.err == nil {
		f.err = err
	}
}

// uint returns the number of a key; 0 if there is no such key.
func (f *fields) uint(key string) uint64 {
	n, _, err := f.s.Uint(key)
	f.keep(err)
	return n
}

func (f *fields) int(key string) int64 {
	n, _, err := f.s.Int(key)
	f.keep(err)
	return n
}

func (f *fields) str(key string) string {
	v, _, err := f.s.Str(key)
	f.keep(err)
	return printable.Text(v)
}

func (f *fields) strings(key string) []string {
	items, err := f.s.Strings(key)
	f.keep(err)
	for i, item := range items {
		items[i] = printable.Text(item)
	}
	return items
}

// words returns the words of a status. Unknown words are an error.
func (f *fields) words(key string, known []string) []string {
	items := f.strings(key)
	for _, w := range items {
		if !slices.Contains(known, w) {
			f.fail(key, "%s has the unknown value %q", key, w)
		}
	}
	return items
}
