package jsonfmt

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"thinpool/metadata"
)

// Options for [Read].
type Options struct {
	Overrides metadata.Overrides // replace values of the header
	Note      func(string)       // called for each correction, if not nil
}

// A SyntaxError says what is wrong with the text, and where.
type SyntaxError struct {
	Line int // from 1
	Err  error
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *SyntaxError) Unwrap() error { return e.Err }

// longestLine limits the memory for a line.
const longestLine = 1 << 20

// longestName is the maximum length of a def's name. Programs use a block number.
const longestName = 255

// batchRuns is the number of runs passed to the visitor at a time.
const batchRuns = 4096

// Read reads a dump and passes it to v. Errors in the text, and errors returned by v, are a
// [SyntaxError].
func Read(ctx context.Context, r io.Reader, v metadata.Visitor, opt Options) error {
	d := reader{v: v, opt: opt, valid: metadata.Validator{Note: opt.Note}}
	lines := bufio.NewReaderSize(r, longestLine)
	for line := 1; ; line++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return &SyntaxError{line, fmt.Errorf("longer than %d bytes", longestLine)}
		case err != nil && err != io.EOF:
			return err
		case err == io.EOF && len(text) == 0:
			if d.state != ended {
				return &SyntaxError{line, errors.New("the input ends early: the line of type summary is missing")}
			}
			return d.v.End() // only now is it certain that nothing follows
		}
		if err := d.line(text); err != nil {
			return &SyntaxError{line, err}
		}
	}
}

type state int

const (
	start state = iota
	idle        // between the superblock and the first def or device
	inDef
	inDevice
	ended
)

type reader struct {
	v                 metadata.Visitor
	opt               Options
	valid             metadata.Validator
	state             state
	batch             []metadata.Run
	devices, mappings uint64
}

// A record is a line of any type; absent fields are nil.
type record struct {
	Type          string  `json:"type"`
	Format        *uint64 `json:"format"`
	UUID          *string `json:"uuid"`
	Time          *uint32 `json:"time"`
	TransactionID *uint64 `json:"transaction_id"`
	Flags         *uint32 `json:"flags"`
	Version       *uint32 `json:"version"`
	DataBlockSize *uint32 `json:"data_block_size"`
	DataBlocks    *uint64 `json:"data_blocks"`
	Name          *string `json:"name"`
	ThinBegin     *uint64 `json:"thin_begin"`
	DataBegin     *uint64 `json:"data_begin"`
	Length        *uint64 `json:"length"`
	DevID         *uint32 `json:"dev_id"`
	MappedBlocks  *uint64 `json:"mapped_blocks"`
	CreationTime  *uint32 `json:"creation_time"`
	SnapTime      *uint32 `json:"snap_time"`
	Devices       *uint64 `json:"devices"`
	Mappings      *uint64 `json:"mappings"`
	Message       *string `json:"message"`
	ExitCode      *int    `json:"exit_code"`
}

func (d *reader) line(text []byte) error {
	if r, ok := scanRange(text); ok {
		return d.run(r)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	var rec record
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rec); err != nil {
		return fmt.Errorf("want a JSON object: %.200s", err) // the error quotes the whole unexpected text
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one JSON object")
	}
	return d.record(&rec)
}

func (d *reader) record(r *record) error {
	switch r.Type {
	case "superblock":
		return d.superblock(r)
	case "def", "ref":
		switch {
		case r.Name == nil:
			return fmt.Errorf("%s without name", r.Type)
		case len(*r.Name) > longestName:
			return fmt.Errorf("name has %d bytes, want at most %d", len(*r.Name), longestName)
		}
		if r.Type == "def" {
			return d.def(*r.Name)
		}
		return d.ref(*r.Name)
	case "device":
		return d.device(r)
	case "range":
		if r.ThinBegin == nil || r.DataBegin == nil || r.Length == nil || r.Time == nil {
			return errors.New("range without thin_begin, data_begin, length or time")
		}
		return d.run(metadata.Run{Thin: metadata.ThinBlock(*r.ThinBegin), Data: metadata.DataBlock(*r.DataBegin), Len: *r.Length, Time: *r.Time})
	case "summary":
		return d.summary(r)
	case "error":
		return errors.New("the dump is incomplete: it ends with an error of the program that wrote it")
	}
	return fmt.Errorf("unknown type %.40q", r.Type)
}

var errMisplaced = errors.New("misplaced: want superblock, then defs and devices with their ranges, then summary")

func (d *reader) superblock(r *record) error {
	switch {
	case d.state != start:
		return errMisplaced
	case r.Format == nil || *r.Format != formatNumber:
		return fmt.Errorf("format is not %d: written by a newer version?", formatNumber)
	case r.Time == nil || r.TransactionID == nil || r.DataBlockSize == nil || r.DataBlocks == nil:
		return errors.New("superblock without time, transaction_id, data_block_size or data_blocks")
	}
	h := metadata.Header{
		Time: *r.Time, TransactionID: *r.TransactionID, Version: metadata.Version,
		DataBlockSize: *r.DataBlockSize, NrDataBlocks: *r.DataBlocks,
	}
	if r.Flags != nil {
		h.Flags = *r.Flags
	}
	if r.Version != nil {
		h.Version = *r.Version
	}
	if r.UUID != nil && *r.UUID != "" {
		uuid, err := hex.DecodeString(*r.UUID)
		if err != nil || len(uuid) != len(h.UUID) {
			return fmt.Errorf("uuid %.40q: want %d bytes in hexadecimal", *r.UUID, len(h.UUID))
		}
		copy(h.UUID[:], uuid)
	}
	if err := d.opt.Overrides.Apply(&h); err != nil {
		return err
	}
	if err := d.valid.Begin(h); err != nil {
		return err
	}
	d.state = idle
	return d.v.Begin(h)
}

func (d *reader) def(name string) error {
	if err := d.endContent(); err != nil {
		return err
	}
	if err := d.valid.BeginDef(name); err != nil {
		return err
	}
	d.state = inDef
	return d.v.BeginDef(name)
}

func (d *reader) device(r *record) error {
	if r.DevID == nil || r.MappedBlocks == nil || r.TransactionID == nil || r.CreationTime == nil || r.SnapTime == nil {
		return errors.New("device without dev_id, mapped_blocks, transaction_id, creation_time or snap_time")
	}
	if err := d.endContent(); err != nil {
		return err
	}
	id := metadata.DevID(*r.DevID)
	details := metadata.Details{
		MappedBlocks: *r.MappedBlocks, TransactionID: *r.TransactionID,
		CreationTime: *r.CreationTime, SnapshottedTime: *r.SnapTime,
	}
	if err := d.valid.BeginDevice(id, details); err != nil {
		return err
	}
	d.state = inDevice
	d.devices++
	return d.v.BeginDevice(id, details)
}

// endContent ends the open def or device, if there is one.
func (d *reader) endContent() error {
	if err := d.flush(); err != nil {
		return err
	}
	switch d.state {
	case inDef:
		if err := d.valid.EndDef(); err != nil {
			return err
		}
		return d.v.EndDef()
	case inDevice:
		d.valid.EndDevice()
		return d.v.EndDevice()
	case idle:
		return nil
	}
	return errMisplaced
}

func (d *reader) ref(name string) error {
	if d.state != inDevice {
		return errMisplaced
	}
	if err := d.valid.Ref(name); err != nil {
		return err
	}
	if err := d.flush(); err != nil {
		return err
	}
	return d.v.Ref(name)
}

func (d *reader) run(r metadata.Run) error {
	if d.state != inDef && d.state != inDevice {
		return errMisplaced
	}
	if err := d.valid.Run(r); err != nil {
		return err
	}
	if r.Len == 0 {
		return nil
	}
	d.mappings += r.Len
	d.batch = append(d.batch, r)
	if len(d.batch) == batchRuns {
		return d.flush()
	}
	return nil
}

func (d *reader) flush() error {
	if len(d.batch) == 0 {
		return nil
	}
	err := d.v.Runs(d.batch)
	d.batch = d.batch[:0]
	return err
}

func (d *reader) summary(r *record) error {
	if err := d.endContent(); err != nil {
		return err
	}
	if r.Devices == nil || r.Mappings == nil || *r.Devices != d.devices || *r.Mappings != d.mappings {
		return fmt.Errorf("the dump is incomplete: it has %d devices and %d mappings, but its summary has other counts", d.devices, d.mappings)
	}
	d.state = ended
	return nil
}

// scanRange parses a line of type range, exactly as the Writer writes it.
func scanRange(p []byte) (metadata.Run, bool) {
	var v [4]uint64
	for i, prefix := range [...]string{range1, range2, range3, range4} {
		if len(p) < len(prefix) || string(p[:len(prefix)]) != prefix {
			return metadata.Run{}, false
		}
		p = p[len(prefix):]
		n := 0
		for ; n < len(p) && n < 19 && '0' <= p[n] && p[n] <= '9'; n++ {
			v[i] = v[i]*10 + uint64(p[n]-'0')
		}
		if n == 0 || n > 1 && p[0] == '0' { // JSON does not allow leading zeros
			return metadata.Run{}, false
		}
		p = p[n:]
	}
	if string(p) != range5 || v[3] > 1<<32-1 {
		return metadata.Run{}, false
	}
	return metadata.Run{Thin: metadata.ThinBlock(v[0]), Data: metadata.DataBlock(v[1]), Len: v[2], Time: uint32(v[3])}, true
}
