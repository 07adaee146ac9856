package xmlfmt

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"sync"

	"thinpool/metadata"
)

// The dialect that dumps are written in: known elements, double quotes, one
// space between attributes, no entities, no comments. The scanner takes it and
// nothing else; it never reports an error, but leaves what it does not take to
// encoding/xml.

// pieceSize is how much text is scanned at a time.
const pieceSize = 1 << 18

// A piece is a stretch of the text that ends with an element, as a rule. While
// the reader is busy with those before it, other goroutines look whether it
// begins with mappings, as nearly all pieces do.
type piece struct {
	data  []byte
	runs  []metadata.Run // the mappings that it begins with
	taken int            // bytes they take
	err   error          // of reading, after data; io.EOF at the end
	ready chan struct{}  // closed when runs and taken are known
}

// pieces cuts r into pieces and sends them, in order, until ctx ends.
func pieces(ctx context.Context, r io.Reader) <-chan *piece {
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
			carry, err = p.fill(r, carry)
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

// fill reads a piece that begins with carry; what follows its last element is
// carried over to the next.
func (p *piece) fill(r io.Reader, carry []byte) ([]byte, error) {
	if p.data == nil {
		p.data = make([]byte, 0, pieceSize)
	}
	n := copy(p.data[:pieceSize], carry)
	m, err := io.ReadFull(r, p.data[n:pieceSize])
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	p.data, p.err = p.data[:n+m], err
	if err != nil {
		return nil, err
	}
	if end := bytes.LastIndexByte(p.data, '>') + 1; end > 0 {
		carry = append(carry[:0], p.data[end:]...)
		p.data = p.data[:end]
		return carry, nil
	}
	return carry[:0], nil
}

// What a mapping looks like, piece by piece.
const (
	single1 = `<single_mapping origin_block="`
	single2 = `" data_block="`
	range1  = `<range_mapping origin_begin="`
	range2  = `" data_begin="`
	range3  = `" length="`
	time1   = `" time="`
	tagEnd  = `"/>`
)

// scanRuns appends the mappings that data begins with to runs and returns how
// many bytes they take.
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

// scanRun scans one mapping and returns how many bytes it takes; 0 if p does not
// begin with one.
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

// A tag is what stands between < and >.
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

// scanTag scans a tag other than a mapping and returns how many bytes it takes;
// 0 if p does not begin with one of the dialect.
func scanTag(p []byte) (tag, int) {
	end := bytes.IndexByte(p[:min(len(p), longestTag)], '>')
	if end < 2 {
		return tag{}, 0
	}
	body := p[1:end]
	var t tag
	switch {
	case body[0] == '/':
		t.kind, body = endTag, body[1:]
	case body[len(body)-1] == '/':
		t.kind, body = emptyTag, body[:len(body)-1]
	}
	name, rest := word(body)
	if name == "" {
		return tag{}, 0
	}
	t.name = name
	for len(rest) > 0 && t.kind != endTag {
		var a attr
		if rest[0] != ' ' {
			return tag{}, 0
		}
		if a.name, rest = word(rest[1:]); a.name == "" || len(rest) < 2 || rest[0] != '=' || rest[1] != '"' {
			return tag{}, 0
		}
		n := plain(rest[2:])
		if 2+n >= len(rest) || rest[2+n] != '"' {
			return tag{}, 0
		}
		a.value, rest = string(rest[2:2+n]), rest[2+n+1:]
		t.attrs = append(t.attrs, a)
	}
	if len(rest) > 0 {
		return tag{}, 0
	}
	return t, end + 1
}

// word cuts the lower-case letters and underscores off the start of p.
func word(p []byte) (string, []byte) {
	n := 0
	for n < len(p) && (p[n] == '_' || 'a' <= p[n] && p[n] <= 'z' || n > 0 && '0' <= p[n] && p[n] <= '9') {
		n++
	}
	return string(p[:n]), p[n:]
}

// plain is how many bytes of p mean themselves in an attribute value.
func plain(p []byte) int {
	n := 0
	for n < len(p) && ' ' <= p[n] && p[n] <= '~' && p[n] != '"' && p[n] != '&' && p[n] != '<' {
		n++
	}
	return n
}
