package text

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Parse parses a text from a physical volume. If a key is repeated, the first one counts.
func Parse(p []byte) (*Section, []Problem, error) { return parse(p, false) }

// ParseFile parses a file from vgcfgbackup. If a key is repeated, the last one counts, as in LVM;
// sections with the same name are merged.
func ParseFile(p []byte) (*Section, []Problem, error) { return parse(p, true) }

func parse(p []byte, lastWins bool) (*Section, []Problem, error) {
	if end := bytes.IndexByte(p, 0); end >= 0 {
		p = p[:end]
	}
	if len(p) > MaxSize {
		return nil, nil, &Error{1, fmt.Sprintf("the text has %d bytes, more than %d", len(p), MaxSize)}
	}
	// Copy once: strings without escapes are slices of this.
	ps := &parser{text: string(p), line: 1, lastWins: lastWins}
	root := newSection(1)
	if err := ps.items(root, 0); err != nil {
		return nil, nil, err
	}
	return root, ps.problems, nil
}

// A parser reads the text byte by byte.
type parser struct {
	text     string
	at, line int
	entries  int
	lastWins bool
	problems []Problem
}

func newSection(line int) *Section { return &Section{Line: line, byKey: map[string]*Entry{}} }

func (p *parser) fail(format string, args ...any) error {
	return &Error{p.line, fmt.Sprintf(format, args...)}
}

// peek skips white space and comments and returns the next byte; 0 at the end.
func (p *parser) peek() byte {
	for ; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '\n':
			p.line++
		case c == '#':
			n := strings.IndexByte(p.text[p.at:], '\n')
			if n < 0 {
				n = len(p.text) - p.at
			}
			p.at += n - 1 // the newline itself comes next
		case !isSpace(c):
			return c
		}
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// endsWord reports whether c ends a bare word or a number.
func endsWord(c byte) bool {
	return isSpace(c) || c == '#' || c == '=' || c == '{' || c == '}'
}

// count limits the memory a text takes.
func (p *parser) count() error {
	if p.entries++; p.entries > maxEntries {
		return p.fail("more than %d keys and items", maxEntries)
	}
	return nil
}

// items parses the content of a section up to its brace, or up to the end at depth 0.
func (p *parser) items(s *Section, depth int) error {
	if depth > maxDepth {
		return p.fail("sections are nested more than %d deep", maxDepth)
	}
	for {
		switch c := p.peek(); {
		case c == 0 && depth == 0:
			return nil
		case c == 0:
			return p.fail("the text ends within the section of line %d", s.Line)
		case c == '}' && depth == 0:
			return p.fail("unexpected closing brace")
		case c == '}':
			p.at++
			return nil
		}
		if err := p.item(s, depth); err != nil {
			return err
		}
	}
}

func (p *parser) item(s *Section, depth int) error {
	if err := p.count(); err != nil {
		return err
	}
	line := p.line
	path, err := p.key()
	if err != nil {
		return err
	}
	keys := strings.Split(path, "/")
	if len(keys) > maxDepth-depth {
		return p.fail("sections are nested more than %d deep", maxDepth)
	}
	for i, key := range keys {
		switch {
		case key == "":
			return p.fail("%q is not a key", path)
		case i == len(keys)-1:
		case s.Section(key) != nil:
			s, depth = s.Section(key), depth+1
		default:
			s, depth = p.put(s, &Entry{Key: key, Line: line, Section: newSection(line)}).Section, depth+1
		}
	}
	e := &Entry{Key: keys[len(keys)-1], Line: line}
	switch c := p.peek(); c {
	case '{':
		p.at++
		e.Section = newSection(line)
		return p.items(p.put(s, e).Section, depth+1)
	case '=':
		p.at++
		if e.Value, err = p.value(); err != nil {
			return err
		}
		p.put(s, e)
		return nil
	}
	return p.fail("neither = nor { follows %q", path)
}

// put adds an entry to a section and returns the entry to fill. If a section is repeated, this may
// be the first one.
func (p *parser) put(s *Section, e *Entry) *Entry {
	old := s.byKey[e.Key]
	if old == nil {
		s.byKey[e.Key] = e
		s.Entries = append(s.Entries, e)
		return e
	}
	const most = 100
	if len(p.problems) < most {
		p.problems = append(p.problems, Problem{e.Line, fmt.Sprintf("%s was already set in line %d", e.Key, old.Line)})
	}
	switch {
	case !p.lastWins:
		return e // parsed, then dropped
	case old.Section != nil && e.Section != nil:
		return old
	}
	*old = *e
	return old
}

// key parses a bare or quoted key.
func (p *parser) key() (string, error) {
	switch c := p.text[p.at]; c {
	case '"', '\'':
		return p.quoted()
	case '[', ']', ',':
		return "", p.fail("%q where a key should be", c)
	}
	word := p.word()
	if word == "" {
		return "", p.fail("%q where a key should be", p.text[p.at])
	}
	return word, nil
}

// word reads up to white space, a comment, '=' or a brace.
func (p *parser) word() string {
	begin := p.at
	for p.at < len(p.text) && !endsWord(p.text[p.at]) {
		p.at++
	}
	return p.text[begin:p.at]
}

func (p *parser) value() (Value, error) {
	if p.peek() != '[' {
		item, err := p.scalar(true)
		return Value{Items: []Scalar{item}}, err
	}
	p.at++
	v := Value{List: true}
	for {
		switch p.peek() {
		case 0:
			return v, p.fail("the text ends within a list")
		case ']':
			p.at++
			return v, nil
		}
		if err := p.count(); err != nil {
			return v, err
		}
		item, err := p.scalar(false)
		if err != nil {
			return v, err
		}
		v.Items = append(v.Items, item)
		switch c := p.peek(); c {
		case ',':
			p.at++
		case ']':
		case 0:
			return v, p.fail("the text ends within a list")
		default:
			return v, p.fail("%q in a list where a comma should be", c)
		}
	}
}

// scalar parses one item of a value. Lists cannot contain bare strings.
func (p *parser) scalar(bare bool) (Scalar, error) {
	switch c := p.peek(); {
	case c == 0:
		return Scalar{}, p.fail("the text ends where a value should be")
	case c == '"' || c == '\'':
		str, err := p.quoted()
		return Scalar{Kind: String, Str: str}, err
	case c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.':
		return p.number()
	case !bare || strings.IndexByte("[],{}=", c) >= 0:
		return Scalar{}, p.fail("%q where a value should be", c)
	}
	return Scalar{Kind: String, Str: p.word()}, nil
}

// number parses an integer or a float. A leading zero means octal. Hexadecimal is not allowed.
func (p *parser) number() (Scalar, error) {
	begin := p.at
	for p.at < len(p.text) && !endsWord(p.text[p.at]) && p.text[p.at] != ',' && p.text[p.at] != ']' {
		p.at++
	}
	token := p.text[begin:p.at]
	digits := strings.TrimLeft(token, "+-")
	switch {
	case len(token)-len(digits) > 1 || strings.Trim(digits, "0123456789.") != "":
		return Scalar{}, p.fail("%q is not a number", token)
	case strings.Contains(digits, "."):
		f, err := strconv.ParseFloat(token, 64)
		if err != nil {
			return Scalar{}, p.fail("%q is not a number", token)
		}
		return Scalar{Kind: Float, Float: f}, nil
	}
	base := 10
	if len(digits) > 1 && digits[0] == '0' {
		base = 8
	}
	n, err := strconv.ParseInt(token, base, 64)
	if err != nil {
		return Scalar{}, p.fail("%q is not a number, or too large", token)
	}
	return Scalar{Kind: Integer, Int: n}, nil
}

// quoted parses a quoted string. In double quotes, \" and \\ are escapes.
func (p *parser) quoted() (string, error) {
	quote, line := p.text[p.at], p.line
	begin := p.at + 1
	var unescaped []byte // set once an escape is found
	for at := begin; at < len(p.text); at++ {
		switch c := p.text[at]; {
		case c == quote:
			p.at = at + 1
			if unescaped != nil {
				return string(append(unescaped, p.text[begin:at]...)), nil
			}
			return p.text[begin:at], nil
		case c == '\n':
			p.line++
		case c == '\\' && quote == '"' && at+1 < len(p.text):
			if next := p.text[at+1]; next == '"' || next == '\\' {
				unescaped = append(unescaped, p.text[begin:at]...)
				begin = at + 1
			} else if next == '\n' {
				p.line++
			}
			at++
		}
	}
	p.line = line
	return "", p.fail("unterminated string")
}
