package streamfmt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"
)

// A Writer writes a stream.
type Writer struct {
	w       io.Writer
	hash    hash.Hash
	zstd    *zstd.Encoder // nil: data is not compressed
	small   *zstd.Encoder // for everything but the data
	summary Summary
}

// NewWriter starts a stream. Data is compressed with zstd at level 1 to 22, or not at all with
// level 0. Everything else is always compressed.
func NewWriter(w io.Writer, level int) (*Writer, error) {
	s := &Writer{w: w, hash: sha256.New()}
	var err error
	if s.small, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false)); err != nil {
		return nil, err
	}
	if level > 0 {
		s.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithWindowSize(MostContent), zstd.WithEncoderCRC(false))
		if err != nil {
			return nil, err
		}
	}
	prefix := le.AppendUint64(append(make([]byte, 0, prefixSize), Magic...), Version)
	return s, s.write(prefix)
}

func (s *Writer) write(p []byte) error {
	s.hash.Write(p)
	_, err := s.w.Write(p)
	return err
}

// NewFrame returns a frame with content, which it may keep. Compressed content is appended to dst.
// It is safe for concurrent use.
func (s *Writer) NewFrame(t Type, position uint64, content, dst []byte) *Frame {
	f := &Frame{Type: t, Position: position, Length: uint64(len(content)), Payload: content}
	z := s.small
	if t == Data {
		z = s.zstd
	}
	if z == nil {
		return f
	}
	if packed := z.EncodeAll(content, dst)[len(dst):]; len(packed) < len(content) {
		f.Payload, f.encoding = packed, zstandard
	}
	return f
}

// Write writes a frame.
func (s *Writer) Write(f *Frame) error {
	switch f.Type {
	case Data:
		s.summary.DataBytes += f.Length
	case Zero:
		s.summary.ZeroBytes += f.Length
	}
	h := f.head()
	if err := s.write(h[:]); err != nil || len(f.Payload) == 0 {
		return err
	}
	return s.write(f.Payload)
}

// End ends the stream. Only then is it complete.
func (s *Writer) End() (Summary, error) {
	s.summary.SHA256 = hex.EncodeToString(s.hash.Sum(nil))
	return s.summary, s.JSON(End, s.summary)
}

// Identity returns h without the fields that change when the rest of a stream is sent again.
func (h Header) Identity() ([]byte, error) {
	h.Start = 0
	return json.Marshal(h)
}

// JSON writes a section with a JSON value.
func (s *Writer) JSON(t Type, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	section := s.Section(t)
	if _, err := section.Write(text); err != nil {
		return err
	}
	return section.Close()
}

// Section returns a writer for a section. Close ends the section.
func (s *Writer) Section(t Type) io.WriteCloser { return &section{s: s, t: t} }

type section struct {
	s   *Writer
	t   Type
	buf []byte
	n   uint64 // frames
}

// Write implements io.Writer.
func (w *section) Write(p []byte) (int, error) {
	if len(p) > MostContent {
		return 0, fmt.Errorf("a record of %d bytes", len(p))
	}
	if len(w.buf)+len(p) > MostContent {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func (w *section) flush() error {
	err := w.s.Write(w.s.NewFrame(w.t, w.n, w.buf, nil))
	w.buf, w.n = w.buf[:0], w.n+1
	return err
}

// Close writes the buffered rest.
func (w *section) Close() error {
	if len(w.buf) == 0 && w.n > 0 {
		return nil
	}
	return w.flush()
}
