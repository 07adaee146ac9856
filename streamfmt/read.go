package streamfmt

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A Reader reads a stream. It verifies the checksum of every frame it returns.
type Reader struct {
	r      *bufio.Reader
	hash   hash.Hash
	zstd   *zstd.Decoder
	frames uint64
	last   Type
	next   uint64 // number of the next frame in the section
	ahead  *Frame // read but not used yet
	sum    Summary
	ended  bool
	free   chan []byte // payload buffers for reuse
}

// NewReader reads the start of a stream.
func NewReader(r io.Reader) (*Reader, error) {
	s := &Reader{r: bufio.NewReaderSize(r, 1<<18), hash: sha256.New(), free: make(chan []byte, 8)}
	var err error
	if s.zstd, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(2*MostContent), zstd.WithDecoderConcurrency(1)); err != nil {
		return nil, err
	}
	var prefix [prefixSize]byte
	n, err := io.ReadFull(s.r, prefix[:])
	switch {
	case err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	case n < len(Magic) || string(prefix[:len(Magic)]) != Magic:
		return nil, ErrNotStream
	case err != nil:
		return nil, ErrCut
	}
	if v := le.Uint64(prefix[len(Magic):]); v != Version {
		return nil, fmt.Errorf("the stream has version %d, want %d: it is damaged, or a newer thin_send made it", v, Version)
	}
	s.hash.Write(prefix[:])
	return s, nil
}

// damaged adds the position in the stream to an error.
func (s *Reader) damaged(err error) error {
	return fmt.Errorf("%w: frame %d: %w", ErrDamaged, s.frames, err)
}

// Next returns the next frame. The last one has the type [End]; after that, Next returns [io.EOF].
// It returns [ErrCut] if the stream ends early.
func (s *Reader) Next() (*Frame, error) {
	if f := s.ahead; f != nil {
		s.ahead = nil
		return f, nil
	}
	if s.ended {
		return nil, io.EOF
	}
	f, raw, err := s.read()
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: it ends in frame %d", ErrCut, s.frames)
	case err != nil:
		return nil, err
	}
	if err := s.inOrder(f); err != nil {
		return nil, s.damaged(err)
	}
	if f.Type == End {
		if err := s.end(f); err != nil {
			return nil, s.damaged(err)
		}
	}
	s.hash.Write(raw[:])
	s.hash.Write(f.Payload)
	s.frames++
	return f, nil
}

// read reads a frame and verifies its checksum.
func (s *Reader) read() (*Frame, *[headSize]byte, error) {
	var h [headSize]byte
	if _, err := io.ReadFull(s.r, h[:]); err != nil {
		return nil, nil, err
	}
	f := &Frame{Type: Type(h[0]), encoding: h[1], Position: le.Uint64(h[8:]), Length: le.Uint64(h[16:])}
	n := le.Uint32(h[4:])
	if n > mostPayload {
		return nil, nil, s.damaged(fmt.Errorf("a frame of %d bytes, want at most %d", n, mostPayload))
	}
	f.Payload = s.payload(int(n))
	if _, err := io.ReadFull(s.r, f.Payload); err != nil {
		return nil, nil, err
	}
	if f.head() != h {
		return nil, nil, s.damaged(fmt.Errorf("checksum %08x, want %08x", crc32.Update(crc32.Checksum(h[:headSize-4], castagnoli), castagnoli, f.Payload), le.Uint32(h[headSize-4:])))
	}
	if err := f.check(); err != nil {
		return nil, nil, s.damaged(err)
	}
	return f, &h, nil
}

// payload returns a buffer of n bytes.
func (s *Reader) payload(n int) []byte {
	select {
	case p := <-s.free:
		if n <= cap(p) {
			return p[:n]
		}
	default:
	}
	return make([]byte, n)
}

// Recycle says that f and its content are no longer used.
func (s *Reader) Recycle(f *Frame) {
	select {
	case s.free <- f.Payload:
	default:
	}
}

// inOrder checks that sections, and the frames in them, come in order.
func (s *Reader) inOrder(f *Frame) error {
	kind := f.Type
	if kind == Zero {
		kind = Data // they may alternate
	}
	switch {
	case kind < s.last || s.last == 0 && kind != Head:
		return fmt.Errorf("%v after %v", f.Type, s.last)
	case kind == s.last && kind != Data && f.Position != s.next:
		return fmt.Errorf("%v: frame %d of it, want %d", f.Type, f.Position, s.next)
	case kind != s.last && kind != Data && f.Position != 0:
		return fmt.Errorf("%v: frame %d of it, want 0", f.Type, f.Position)
	}
	s.last, s.next = kind, f.Position+1
	return nil
}

// end verifies the checksum of the whole stream.
func (s *Reader) end(f *Frame) error {
	content, err := s.Content(f, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, &s.sum); err != nil {
		return err
	}
	if sum := hex.EncodeToString(s.hash.Sum(nil)); sum != s.sum.SHA256 {
		return fmt.Errorf("the SHA-256 of the stream is %s, want %.64q", sum, s.sum.SHA256)
	}
	if _, err := s.r.ReadByte(); err != io.EOF {
		return errors.New("something follows the end")
	}
	s.ended = true
	return nil
}

// Summary returns the summary at the end of the stream. Call it after [End] was read.
func (s *Reader) Summary() Summary { return s.sum }

// Content decodes the content of a frame, into buf if it is large enough. It is safe to call
// concurrently with Next.
func (s *Reader) Content(f *Frame, buf []byte) ([]byte, error) {
	if f.encoding == plain {
		return f.Payload, nil
	}
	content, err := s.zstd.DecodeAll(f.Payload, buf[:0])
	if err != nil {
		return nil, fmt.Errorf("%w: %v at %d: %w", ErrDamaged, f.Type, f.Position, err)
	}
	if uint64(len(content)) != f.Length {
		return nil, fmt.Errorf("%w: %v at %d: %d bytes, want %d", ErrDamaged, f.Type, f.Position, len(content), f.Length)
	}
	return content, nil
}

// peek returns the type of the next frame.
func (s *Reader) peek() (Type, error) {
	f, err := s.Next()
	if err != nil {
		return 0, err
	}
	s.ahead = f
	return f.Type, nil
}

// Section returns a reader for the section of that type; nil if it does not come next.
func (s *Reader) Section(t Type) (io.Reader, error) {
	next, err := s.peek()
	if err != nil || next != t {
		return nil, err
	}
	return &sectionReader{s: s, t: t}, nil
}

type sectionReader struct {
	s    *Reader
	t    Type
	rest []byte
}

// Read implements io.Reader.
func (r *sectionReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		next, err := r.s.peek()
		if err != nil {
			return 0, err
		}
		if next != r.t {
			return 0, io.EOF
		}
		f, _ := r.s.Next()
		if r.rest, err = r.s.Content(f, nil); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Skip skips a section if it comes next.
func (s *Reader) Skip(t Type) error {
	r, err := s.Section(t)
	if err != nil || r == nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// JSON reads a section with a JSON value of at most most bytes. It returns false if the section
// does not come next.
func (s *Reader) JSON(t Type, most int64, value any) (bool, error) {
	text, err := s.Bytes(t, most)
	if err != nil || text == nil {
		return false, err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return false, fmt.Errorf("%w: %v: %w", ErrDamaged, t, err)
	}
	return true, nil
}

// Bytes reads a section of at most most bytes; nil if it does not come next.
func (s *Reader) Bytes(t Type, most int64) ([]byte, error) {
	r, err := s.Section(t)
	if err != nil || r == nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%w: %v: more than %d bytes", ErrDamaged, t, most)
	}
	return text, err
}
