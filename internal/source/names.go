package source

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"thinpool/metadata"
)

// deviceNames are the volumes of the pool by their device ids.
func (p *Place) deviceNames() map[metadata.DevID]string {
	if p == nil || p.Pool == nil {
		return nil
	}
	all := map[metadata.DevID]string{}
	for _, v := range p.Group.LVs {
		if t := v.Thin(); t != nil && t.Pool == p.Pool.Name && t.DeviceID <= metadata.MaxDevID {
			all[metadata.DevID(t.DeviceID)] = p.Group.Name + "/" + v.Name
		}
	}
	return all
}

// Name is what LVM calls a device of the pool; nil if it knows nothing about the pool.
func (p *Place) Name() func(metadata.DevID) string {
	names := p.deviceNames()
	if names == nil {
		return nil
	}
	return func(id metadata.DevID) string { return names[id] }
}

var deviceWord = regexp.MustCompile(`\bdevice (\d+)\b`)

// A namer puts the names of volumes into messages: all tools say "device 7" of the same
// thing, so that vg/data (device 7) asks nothing of them.
type namer struct {
	w     io.Writer
	names map[metadata.DevID]string
	part  []byte // of a line
}

// Named returns a writer that passes lines on to w with the names of volumes; w itself
// if p has none.
func (p *Place) Named(w io.Writer) io.Writer {
	if names := p.deviceNames(); len(names) > 0 {
		return &namer{w: w, names: names}
	}
	return w
}

// Write implements [io.Writer].
func (n *namer) Write(text []byte) (int, error) {
	n.part = append(n.part, text...)
	end := bytes.LastIndexByte(n.part, '\n') + 1
	if end == 0 {
		return len(text), nil
	}
	lines := deviceWord.ReplaceAllFunc(n.part[:end], func(word []byte) []byte {
		id, err := strconv.ParseUint(string(word[len("device "):]), 10, 24)
		if name, ok := n.names[metadata.DevID(id)]; ok && err == nil {
			return fmt.Appendf(nil, "%s (%s)", name, word)
		}
		return word
	})
	n.part = n.part[:copy(n.part, n.part[end:])]
	_, err := n.w.Write(lines)
	return len(text), err
}
