package xmlfmt

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"strings"
	"sync"

	"thinpool/metadata"
)

// The scanner accepts only the dialect that dumps are written in: known elements, double quotes,
// one space between attributes, no entities, no comments. It never reports an error, and leaves
// everything else to encoding/xml.

// pieceSize is how much text is scanned at a time.
const pieceSize = 1 << 18

// A piece is a part of the text that usually ends with an element. While the reader is busy with
// earlier pieces, other goroutines check whether it starts with mappings, as nearly all pieces do.
type piece struct {
	data  []byte
	runs  []metadata.Run // the mappings at its start
	taken int            // their length in bytes
	err   error          // from reading, after data; io.EOF at the end
	ready chan struct{}  // closed when runs and taken are known
}

// pieces splits r into pieces of at most size bytes and sends them, in order, until ctx is done.
// The channel is closed when nothing reads from r any more.
func pieces(ctx context.Context, r io.Reader, size int) <-chan *piece {
	workers := runtime.GOMAXPROCS(0)
	order, work := make(chan *piece, workers), make(chan *piece, workers)
	for range workers {
		go func() {
			for p := range work {
				p.runs, p.taken = scanRuns(p.data, p.runs[:0])
				close(p.ready)
			}
		}()
	}
	go func() {
		defer close(order)
		defer close(work)
		var carry []byte
		for {
			p := piecePool.Get().(*piece)
			p.ready = make(chan struct{})
			var err error
			carry, err = p.fill(ctx, r, size, carry)
			for _, to := range []chan *piece{work, order} {
				select {
				case to <- p:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return order
}

var piecePool = sync.Pool{New: func() any { return new(piece) }}

// offMagic is the offset of the magic number in binary metadata.
const offMagic = 32

// fill reads a piece that starts with carry. It returns the text after the last element, to be
// carried over to the next piece.
func (p *piece) fill(ctx context.Context, r io.Reader, size int, carry []byte) ([]byte, error) {
	if cap(p.data) < size {
		p.data = make([]byte, size)
	}
	n, err := copy(p.data[:size], carry), ctx.Err()
	for n < size && err == nil {
		var m int
		m, err = r.Read(p.data[n:size])
		n += m
		if err == nil {
			err = ctx.Err()
		}
	}
	p.data, p.err = p.data[:n], err
	if err != nil {
		return nil, err
	}
	// The first piece must show what the input is, whatever it is.
	if end := bytes.LastIndexByte(p.data, '>') + 1; end >= offMagic+8 {
		carry = append(carry[:0], p.data[end:]...)
		p.data = p.data[:end]
		return carry, nil
	}
	return carry[:0], nil
}

// The parts of a mapping's text.
const (
	single1 = `<single_mapping origin_block="`
	single2 = `" data_block="`
	range1  = `<range_mapping origin_begin="`
	range2  = `" data_begin="`
	range3  = `" length="`
	time1   = `" time="`
	tagEnd  = `"/>`
)

// scanRuns appends the mappings at the start of data to runs and returns their length in bytes.
func scanRuns(data []byte, runs []metadata.Run) ([]metadata.Run, int) {
	at := 0
	for {
		next := at
		for next < len(data) && isSpace(data[next]) {
			next++
		}
		r, n := scanRun(data[next:])
		if n == 0 {
			return runs, at
		}
		at = next + n
		runs = append(runs, r)
	}
}

// scanRun scans one mapping and returns its length in bytes; 0 if p does not start with one.
func scanRun(p []byte) (metadata.Run, int) {
	r := metadata.Run{Len: 1}
	s := scanner{p: p, ok: true}
	switch {
	case len(p) > 1 && p[1] == 's':
		s.text(single1)
		r.Thin = metadata.ThinBlock(s.number())
		s.text(single2)
		r.Data = metadata.DataBlock(s.number())
	case len(p) > 1 && p[1] == 'r':
		s.text(range1)
		r.Thin = metadata.ThinBlock(s.number())
		s.text(range2)
		r.Data = metadata.DataBlock(s.number())
		s.text(range3)
		r.Len = s.number()
	default:
		return r, 0
	}
	s.text(time1)
	time := s.number()
	s.text(tagEnd)
	if !s.ok || time > 1<<32-1 {
		return r, 0
	}
	r.Time = uint32(time)
	return r, s.at
}

type scanner struct {
	p  []byte
	at int
	ok bool
}

func (s *scanner) text(want string) {
	if end := s.at + len(want); end <= len(s.p) && string(s.p[s.at:end]) == want {
		s.at = end
		return
	}
	s.ok = false
}

// number scans 1 to 19 digits, which cannot overflow.
func (s *scanner) number() uint64 {
	var v uint64
	i := s.at
	for ; i < len(s.p); i++ {
		d := s.p[i] - '0'
		if d > 9 {
			break
		}
		v = v*10 + uint64(d)
	}
	if n := i - s.at; n == 0 || n > 19 {
		s.ok = false
	}
	s.at = i
	return v
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// A tag is the text between < and >.
type tag struct {
	name  string
	attrs []attr
	kind  tagKind
}

type tagKind int

const (
	startTag tagKind = iota
	endTag
	emptyTag // start and end in one
)

type attr struct{ name, value string }

// longestTag is how many bytes the scanner looks ahead for the end of a tag.
const longestTag = 4096

// scanTag scans a tag other than a mapping, with its attributes in attrs, and returns its length
// in bytes; 0 if p does not start with a tag of the dialect.
func scanTag(p []byte, attrs []attr) (tag, int) {
	end := bytes.IndexByte(p[:min(len(p), longestTag)], '>')
	if end < 2 {
		return tag{}, 0
	}
	body := string(p[1:end]) // everything the tag keeps is part of it
	t := tag{attrs: attrs}
	switch {
	case body[0] == '/':
		t.kind, body = endTag, body[1:]
	case body[len(body)-1] == '/':
		t.kind, body = emptyTag, body[:len(body)-1]
	}
	t.name, body = word(body)
	for t.kind != endTag && body != "" {
		var a attr
		var ok bool
		if a, body, ok = scanAttr(body); !ok {
			return tag{}, 0
		}
		t.attrs = append(t.attrs, a)
	}
	if t.name == "" || body != "" {
		return tag{}, 0
	}
	return t, end + 1
}

// scanAttr removes a space and an attribute from the start of s.
func scanAttr(s string) (attr, string, bool) {
	s, ok := strings.CutPrefix(s, " ")
	name, s := word(s)
	s, equals := strings.CutPrefix(s, `="`)
	n := plain(s)
	if !ok || !equals || name == "" || n == len(s) || s[n] != '"' {
		return attr{}, "", false
	}
	return attr{name, s[:n]}, s[n+1:], true
}

// word removes lower-case letters, digits and underscores from the start of s, which must not
// start with a digit.
func word(s string) (string, string) {
	n := 0
	for n < len(s) && (s[n] == '_' || 'a' <= s[n] && s[n] <= 'z' || n > 0 && '0' <= s[n] && s[n] <= '9') {
		n++
	}
	return s[:n], s[n:]
}

// plain returns how many bytes of s stand for themselves in an attribute value.
func plain(s string) int {
	n := 0
	for n < len(s) && ' ' <= s[n] && s[n] <= '~' && s[n] != '"' && s[n] != '&' && s[n] != '<' {
		n++
	}
	return n
}
