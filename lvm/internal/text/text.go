// Package text parses the text in which LVM2 describes a volume group: on physical volumes, and in
// files written by vgcfgbackup.
//
//	text   = item*
//	item   = key '{' item* '}'  |  key '=' value
//	value  = scalar | '[' [ scalar { ',' scalar } [','] ] ']'
//	scalar = integer | float | '"' ... '"' | "'" ... "'" | bare
//	key    = bare | quoted
//
// White space is insignificant, '#' starts a comment to the end of the line, and a NUL ends the
// text. A key with a slash, a/b, is the key b in the section a. The parser refuses what LVM's own
// parser refuses, and a few things LVM accepts but never writes, such as octal numbers with digits
// above 7. It does not interpret the text.
package text

import (
	"fmt"
	"slices"
)

// Limits of the parser. LVM nests five levels deep. The largest text that fits into its usual
// metadata area is half a MiB.
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

// A Problem is an oddity in a text that can still be parsed.
type Problem struct {
	Line   int
	Reason string
}

func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Reason) }

// A Section is the content of a pair of braces, or the whole text.
type Section struct {
	Line    int      // of its key
	Entries []*Entry // in text order
	byKey   map[string]*Entry
}

// An Entry is a key with a section or a value.
type Entry struct {
	Key     string
	Line    int
	Section *Section // nil for a value
	Value   Value
}

// A Value is a scalar, or a list of them.
type Value struct {
	List  bool
	Items []Scalar // exactly one if it is not a list
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
	Str   string // unescaped; otherwise as in the text
}

// Get returns the entry of a key, or nil.
func (s *Section) Get(key string) *Entry { return s.byKey[key] }

// Sections returns the sections in s, in text order.
func (s *Section) Sections() []*Entry {
	var found []*Entry
	for _, e := range s.Entries {
		if e.Section != nil {
			found = append(found, e)
		}
	}
	return found
}

// Section returns the section with a key, or nil.
func (s *Section) Section(key string) *Section {
	if e := s.Get(key); e != nil {
		return e.Section
	}
	return nil
}

// value returns the entry of key, which must not be a section, or nil.
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

// Int returns the integer of a key, and whether the key exists.
func (s *Section) Int(key string) (n int64, ok bool, err error) {
	v, err := s.scalar(key, Integer)
	if v == nil || err != nil {
		return 0, false, err
	}
	return v.Int, true, nil
}

// Uint is like Int, for values that cannot be negative.
func (s *Section) Uint(key string) (n uint64, ok bool, err error) {
	i, ok, err := s.Int(key)
	if i < 0 {
		return 0, false, &Error{s.Get(key).Line, fmt.Sprintf("%s is %d", key, i)}
	}
	return uint64(i), ok, err
}

// Str returns the string of a key, and whether the key exists.
func (s *Section) Str(key string) (v string, ok bool, err error) {
	item, err := s.scalar(key, String)
	if item == nil || err != nil {
		return "", false, err
	}
	return item.Str, true, nil
}

// Strings returns a list of strings. A single string counts as a list of one. A missing key gives
// an empty list.
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

// Has reports whether a key is a list of strings that contains item.
func (s *Section) Has(key, item string) bool {
	items, err := s.Strings(key)
	return err == nil && slices.Contains(items, item)
}

// A Pair is a name and a number, as in lists of stripes.
type Pair struct {
	Name   string
	Number int64
}

// Pairs returns a list of alternating names and numbers.
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
