// Package text reads the text that LVM2 keeps about a volume group: on the physical
// volumes, and in files that vgcfgbackup writes.
//
//	text   = item*
//	item   = key '{' item* '}'  |  key '=' value
//	value  = scalar | '[' [ scalar { ',' scalar } [','] ] ']'
//	scalar = integer | float | '"' ... '"' | "'" ... "'" | bare
//	key    = bare | quoted
//
// White space means nothing, '#' starts a comment up to the end of the line, a NUL ends
// the text. A key with slashes, a/b, is the key b in the section a. What LVM's own reader
// refuses is refused; so are a few things that it lets pass and never writes, such as
// octal numbers with digits beyond 7. Nothing of the text is interpreted here.
package text

import (
	"fmt"
	"slices"
)

// Bounds of what is parsed. LVM nests five deep; the largest text that fits into its usual
// metadata area is half a MiB long.
const (
	MaxSize    = 64 << 20 // bytes
	maxEntries = 2 << 20  // keys, sections and items of lists
	maxDepth   = 32
)

// An Error says what is wrong with a text, and in which line, counted from 1.
type Error struct {
	Line   int
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// A Problem is something odd in a text that can be read all the same.
type Problem struct {
	Line   int
	Reason string
}

func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Reason) }

// A Section is what stands between braces, or the whole text.
type Section struct {
	Line    int      // of its key
	Entries []*Entry // in the order of the text
	byKey   map[string]*Entry
}

// An Entry is a section or a value, by its key.
type Entry struct {
	Key     string
	Line    int
	Section *Section // nil for a value
	Value   Value
}

// A Value is a scalar, or a list of them.
type Value struct {
	List  bool
	Items []Scalar // one if it is not a list
}

// A Kind is the kind of a scalar.
type Kind uint8

// The kinds of scalar.
const (
	Integer Kind = iota
	Float
	String // quoted or bare
)

var kindNames = [...]string{"an integer", "a float", "a string"}

func (k Kind) String() string { return kindNames[k] }

// A Scalar is one item of a value.
type Scalar struct {
	Kind  Kind
	Int   int64
	Float float64
	Str   string // bytes as they were, escapes removed
}

// Get returns the entry of a key, nil if there is none.
func (s *Section) Get(key string) *Entry { return s.byKey[key] }

// Sections are the sections in s, in the order of the text.
func (s *Section) Sections() []*Entry {
	var found []*Entry
	for _, e := range s.Entries {
		if e.Section != nil {
			found = append(found, e)
		}
	}
	return found
}

// Section returns the section of a key, nil if there is none.
func (s *Section) Section(key string) *Section {
	if e := s.Get(key); e != nil {
		return e.Section
	}
	return nil
}

// value returns the entry of key, which must not be a section; nil if there is none.
func (s *Section) value(key string) (*Entry, error) {
	e := s.Get(key)
	if e != nil && e.Section != nil {
		return nil, &Error{e.Line, key + " is a section"}
	}
	return e, nil
}

// scalar returns the only item of a value, which must be of kind k; nil if there is no such key.
func (s *Section) scalar(key string, k Kind) (*Scalar, error) {
	e, err := s.value(key)
	switch {
	case e == nil || err != nil:
		return nil, err
	case e.Value.List:
		return nil, &Error{e.Line, fmt.Sprintf("%s is a list, want %v", key, k)}
	case e.Value.Items[0].Kind != k:
		return nil, &Error{e.Line, fmt.Sprintf("%s is %v, want %v", key, e.Value.Items[0].Kind, k)}
	}
	return &e.Value.Items[0], nil
}

// Int returns the integer of a key, and whether there is such a key.
func (s *Section) Int(key string) (n int64, ok bool, err error) {
	v, err := s.scalar(key, Integer)
	if v == nil || err != nil {
		return 0, false, err
	}
	return v.Int, true, nil
}

// Uint is Int for what cannot be negative.
func (s *Section) Uint(key string) (n uint64, ok bool, err error) {
	i, ok, err := s.Int(key)
	if i < 0 {
		return 0, false, &Error{s.Get(key).Line, fmt.Sprintf("%s is %d", key, i)}
	}
	return uint64(i), ok, err
}

// Str returns the string of a key, and whether there is such a key.
func (s *Section) Str(key string) (v string, ok bool, err error) {
	item, err := s.scalar(key, String)
	if item == nil || err != nil {
		return "", false, err
	}
	return item.Str, true, nil
}

// Strings returns a list of strings; a single string counts as a list of one. Without the
// key there are none.
func (s *Section) Strings(key string) ([]string, error) {
	e, err := s.value(key)
	if e == nil || err != nil {
		return nil, err
	}
	found := make([]string, len(e.Value.Items))
	for i, item := range e.Value.Items {
		if item.Kind != String {
			return nil, &Error{e.Line, fmt.Sprintf("item %d of %s is %v, want a string", i+1, key, item.Kind)}
		}
		found[i] = item.Str
	}
	return found, nil
}

// Has reports whether a list of strings has an item; false if it is no such list.
func (s *Section) Has(key, item string) bool {
	items, err := s.Strings(key)
	return err == nil && slices.Contains(items, item)
}

// A Pair is a name and a number, as in lists of stripes.
type Pair struct {
	Name   string
	Number int64
}

// Pairs returns a list of names and numbers in turn.
func (s *Section) Pairs(key string) ([]Pair, error) {
	e, err := s.value(key)
	switch {
	case e == nil || err != nil:
		return nil, err
	case !e.Value.List || len(e.Value.Items)%2 != 0:
		return nil, &Error{e.Line, key + " is not a list of names and numbers"}
	}
	items := e.Value.Items
	found := make([]Pair, len(items)/2)
	for i := range found {
		name, nr := items[2*i], items[2*i+1]
		if name.Kind != String || nr.Kind != Integer {
			return nil, &Error{e.Line, fmt.Sprintf("pair %d of %s is %v and %v, want a string and an integer", i+1, key, name.Kind, nr.Kind)}
		}
		found[i] = Pair{name.Str, nr.Int}
	}
	return found, nil
}
