package explore

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"thinpool/metadata"
	"thinpool/metadata/block"
)

// goTo asks where to go.
func (m Model) goTo() (Model, Effects) {
	return m.ask(": ", "", func(m Model, text string) (Model, Effects) {
		m, e, err := m.goToText(text)
		if err != nil {
			m = m.fail("%s", err)
		}
		return m, e
	})
}

var errWhere = errors.New("where? 81, 1m, dev 7, vg/lv, thin 100, data 100, dev 7 thin 1g")

// goToText goes where a line says: pairs of words and numbers, or a single number or name.
func (m Model) goToText(text string) (Model, Effects, error) {
	words := strings.Fields(text)
	if len(words) == 1 {
		if strings.Contains(words[0], "/") {
			words = []string{"device", words[0]}
		} else {
			words = []string{"block", words[0]}
		}
	}
	if len(words)%2 != 0 {
		return m, Effects{}, errWhere
	}
	dev := m.device()
	var thin *uint64
	for i := 0; i < len(words); i += 2 {
		word, value := words[i], words[i+1]
		switch {
		case isShort(word, "block", 1):
			nr, err := m.blockNumber(value, block.Size)
			if err == nil && nr >= uint64(m.limit) {
				err = fmt.Errorf("block %d is beyond the end of the metadata, which has %d blocks", nr, m.limit)
			}
			if err != nil {
				return m, Effects{}, err
			}
			to := at(block.Nr(nr))
			to.top = m.super()
			if nr == 0 {
				to.tree = superblocks
			}
			m, e := m.openPlace(to)
			return m, e, nil
		case isShort(word, "device", 2):
			id, err := m.deviceNumber(value)
			if err != nil {
				return m, Effects{}, err
			}
			dev = &id
		case isShort(word, "thin", 1):
			n, err := m.blockNumber(value, m.dataBlockSize())
			if err != nil {
				return m, Effects{}, err
			}
			thin = &n
		case isShort(word, "data", 2):
			n, err := m.blockNumber(value, m.dataBlockSize())
			if err != nil {
				return m, Effects{}, err
			}
			m, e := m.whoMaps(dataRun{metadata.DataBlock(n), 1})
			return m, e, nil
		default:
			return m, Effects{}, errWhere
		}
	}
	if dev == nil {
		return m, Effects{}, errors.New("which device? dev 7 thin 100")
	}
	m, e := m.toDevice(*dev, thin)
	return m, e, nil
}

func isShort(word, full string, least int) bool {
	return len(word) >= least && strings.HasPrefix(full, strings.ToLower(word))
}

// blockNumber reads a block number, or an offset in bytes with a unit.
func (m Model) blockNumber(text string, size uint64) (uint64, error) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, nil
	}
	if m.opt.ParseSize == nil {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	n, err := m.opt.ParseSize(text)
	switch {
	case err != nil:
		return 0, err
	case size == 0:
		return 0, errors.New("the data block size is not known: give block numbers")
	}
	return n / size, nil
}

// dataBlockSize returns the size in bytes; 0 if unknown.
func (m Model) dataBlockSize() uint64 {
	for i := range m.stack {
		if p := &m.stack[i]; p.block != nil && p.place.tree == superblocks && p.block.err == nil {
			return uint64(p.block.super.DataBlockSize) * block.SectorSize
		}
	}
	if c := m.cache[metadata.SuperblockLocation]; c != nil {
		return uint64(c.super.DataBlockSize) * block.SectorSize
	}
	return 0
}

// deviceNumber reads a device id, or the name of a volume.
func (m Model) deviceNumber(text string) (metadata.DevID, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	switch {
	case err == nil:
		return metadata.DevID(id), nil
	case m.opt.DevID == nil:
		return 0, fmt.Errorf("%q: volumes have no names here; give the id of the device", text)
	}
	id, err = m.opt.DevID(text)
	return metadata.DevID(id), err
}

// ParseNodePath reads the path to a block: block numbers separated by slashes, as y copies it, or the letters
// that thin_check 1.x prints.
func ParseNodePath(text string) ([]block.Nr, error) {
	var nrs []block.Nr
	if strings.Trim(text, "0123456789/") == "" && text != "" {
		for word := range strings.SplitSeq(strings.Trim(text, "/"), "/") {
			nr, err := strconv.ParseUint(word, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("path %q: want numbers of blocks, as 0/20/31", text)
			}
			nrs = append(nrs, block.Nr(nr))
		}
		if len(nrs) > mostPages {
			return nil, fmt.Errorf("path %q: more than %d blocks", text, mostPages)
		}
		return nrs, nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("path %q: want numbers of blocks, as 0/20/31, or the letters that thin_check 1.x prints", text)
	}
	if raw[0]&1 == 0 {
		nrs = append(nrs, 0)
	}
	words, err := unpackWords(raw[1:], int(raw[0]>>1))
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", text, err)
	}
	return append(nrs, words...), nil
}

// The instructions of packed words.
const (
	packSet = iota
	packPos
	packPosWide
	packNeg
	packNegWide
	packConst
	packConstWide
	packCount
	packCountWide
)

var errPacked = errors.New("it is cut short, or not a path")

// unpackWords reads n numbers in the form that packs use: see the table of instructions in docs/pack.md.
func unpackWords(in []byte, n int) ([]block.Nr, error) {
	var out []block.Nr
	base, repeat := uint64(0), 1
	for len(out) < n {
		if len(in) == 0 {
			return nil, errPacked
		}
		tag, low := in[0]>>4, int(in[0]&15)
		in = in[1:]
		operand := uint64(low)
		width := 0
		switch tag {
		case packSet, packPosWide, packNegWide:
			width = low
			if width != 1 && width != 2 && width != 4 && width != 8 {
				return nil, errPacked
			}
		case packConstWide, packCountWide:
			width = 1
		}
		if len(in) < width {
			return nil, errPacked
		}
		if width > 0 {
			var word [8]byte
			copy(word[:], in[:width])
			operand = le.Uint64(word[:])
			in = in[width:]
		}
		times := repeat
		repeat = 1
		step := uint64(0)
		switch tag {
		case packSet:
			base = operand
		case packPos, packPosWide:
			step = operand
		case packNeg, packNegWide:
			step = -operand
		case packConst:
			times = low
		case packConstWide:
			times = low<<8 | int(operand)
		case packCount:
			repeat = low
			continue
		case packCountWide:
			repeat = low<<8 | int(operand)
			continue
		default:
			return nil, errPacked
		}
		for range times {
			if len(out) < n {
				base += step
				out = append(out, block.Nr(base))
			}
		}
	}
	return out, nil
}
