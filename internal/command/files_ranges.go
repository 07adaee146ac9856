package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"thinpool/fsmap"
	"thinpool/internal/cli"
)

// eachLine calls fn for each line. Errors include the line number.
func eachLine(r io.Reader, fn func(line string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<26)
	for n := 1; lines.Scan(); n++ {
		if err := fn(lines.Text()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return lines.Err()
}

// lostRanges parses the list that thin_export --ranges writes.
func lostRanges(r io.Reader) (lost []fsmap.Range, err error) {
	complete := false
	err = eachLine(r, func(line string) error {
		var o struct {
			Type   string `json:"type"`
			Begin  uint64 `json:"begin"`
			Length uint64 `json:"length"`
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			return fmt.Errorf("not a list of thin_export --ranges: %w", err)
		}
		complete = o.Type == "summary"
		if o.Type == "lost" {
			lost = append(lost, someBytes(o.Begin, o.Length))
		}
		return nil
	})
	if err == nil && !complete {
		err = errors.New("not a complete list of thin_export --ranges: there is no summary at the end")
	}
	return lost, err
}

// someBytes returns a range, clipped to the largest possible volume.
func someBytes(begin, length uint64) fsmap.Range {
	begin = min(begin, math.MaxInt64)
	return fsmap.Range{Begin: int64(begin), Len: int64(min(length, math.MaxInt64-begin))}
}

// mapfileRanges returns the unfinished areas of a GNU ddrescue mapfile.
func mapfileRanges(r io.Reader) (lost []fsmap.Range, err error) {
	status := false // the first line says how far ddrescue got
	err = eachLine(r, func(line string) error {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			return nil
		case !status:
			status = true
			return nil
		case len(words) != 3 || len(words[2]) != 1 || !strings.Contains("?*/-+", words[2]):
			return errors.New("not a block of a ddrescue mapfile: want position, size and status")
		}
		begin, err := strconv.ParseUint(words[0], 0, 64)
		if err != nil {
			return err
		}
		length, err := strconv.ParseUint(words[1], 0, 64)
		if err != nil {
			return err
		}
		if words[2] != "+" {
			lost = append(lost, someBytes(begin, length))
		}
		return nil
	})
	if err == nil && !status {
		err = errors.New("not a mapfile of ddrescue: it is empty")
	}
	return lost, err
}

// A reportLine has the fields of a line of thin_repair --format json that are needed here.
type reportLine struct {
	Type          string `json:"type"`
	DataBlockSize uint64 `json:"data_block_size"`
	DevID         uint64 `json:"dev_id"`
	HolesLeftOut  uint64 `json:"holes_left_out"`
	Holes         []struct {
		Begin  uint64  `json:"begin"`
		Length *uint64 `json:"length"`
	} `json:"holes"`
}

// reportRanges returns the holes of a device in a report of thin_repair.
func reportRanges(r io.Reader, device *uint64) (lost []fsmap.Range, err error) {
	if device == nil {
		return nil, cli.Usagef("--report: which device? Give its id with --dev-id")
	}
	blockSize, found := uint64(0), false
	err = eachLine(r, func(line string) error {
		var o reportLine
		switch err := json.Unmarshal([]byte(line), &o); {
		case err != nil:
			return fmt.Errorf("not a report of thin_repair --format json: %w", err)
		case o.Type == "repair":
			blockSize = o.DataBlockSize * cli.SectorSize
		case o.Type != "device" || o.DevID != *device:
		case blockSize == 0:
			return errors.New("the report does not tell the data block size")
		case o.HolesLeftOut > 0:
			return fmt.Errorf("the report leaves out %d holes of device %d: use --lost, or thin_export --ranges", o.HolesLeftOut, *device)
		default:
			found = true
			for _, h := range o.Holes {
				begin := min(h.Begin, math.MaxInt64/blockSize)
				length := math.MaxInt64 / blockSize
				if h.Length != nil {
					length = min(*h.Length, length)
				}
				lost = append(lost, someBytes(begin*blockSize, length*blockSize))
			}
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("the report has no device %d", *device)
	}
	return lost, err
}
