package send_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/send"
)

const blockBytes = metadata.MinDataBlockSize * block.SectorSize

// A kernel models how the kernel writes to a pool: which writes go in place, and which to a new
// block.
type kernel struct {
	nr, time    uint32
	transaction uint64
	devices     map[metadata.DevID]*device
	refs        []int // by data block
	data        []byte
	writes      uint64 // gives every write different content
}

type device struct {
	details metadata.Details
	thin    map[metadata.ThinBlock]metadata.Run
}

func newKernel(blocks uint32) *kernel {
	return &kernel{nr: blocks, devices: map[metadata.DevID]*device{}, refs: make([]int, blocks), data: make([]byte, int(blocks)*blockBytes)}
}

func (k *kernel) create(id metadata.DevID) {
	k.devices[id] = &device{
		metadata.Details{TransactionID: k.transaction, CreationTime: k.time, SnapshottedTime: k.time},
		map[metadata.ThinBlock]metadata.Run{},
	}
	k.transaction++
}

func (k *kernel) snapshot(id, origin metadata.DevID) {
	k.time++
	o := k.devices[origin]
	o.details.SnapshottedTime = k.time
	k.devices[id] = &device{
		metadata.Details{TransactionID: k.transaction, CreationTime: k.time, SnapshottedTime: k.time},
		maps.Clone(o.thin),
	}
	for _, r := range o.thin {
		k.refs[r.Data]++
	}
	k.transaction++
}

func (k *kernel) remove(id metadata.DevID) {
	for _, r := range k.devices[id].thin {
		k.refs[r.Data]--
	}
	delete(k.devices, id)
	k.transaction++
}

func (k *kernel) discard(id metadata.DevID, b metadata.ThinBlock) {
	if r, ok := k.devices[id].thin[b]; ok {
		k.refs[r.Data]--
		delete(k.devices[id].thin, b)
	}
}

// write writes a block: in place only if no snapshot was taken since it was mapped. It returns
// false if there is no space.
func (k *kernel) write(id metadata.DevID, b metadata.ThinBlock) bool {
	d := k.devices[id]
	r, mapped := d.thin[b]
	if !mapped || r.Time < d.details.SnapshottedTime {
		free := slices.Index(k.refs, 0)
		if free < 0 {
			return false
		}
		if mapped {
			k.refs[r.Data]--
		}
		k.refs[free] = 1
		r = metadata.Run{Thin: b, Data: metadata.DataBlock(free), Len: 1, Time: k.time}
		d.thin[b] = r
	}
	k.writes++
	content := k.data[int(r.Data)*blockBytes:][:blockBytes]
	for i := 0; i < len(content); i += 8 {
		binary.LittleEndian.PutUint64(content[i:], k.writes<<32|uint64(i))
	}
	return true
}

// visit passes the pool to v.
func (k *kernel) visit(_ bool, v metadata.Visitor) error {
	if err := v.Begin(metadata.Header{Version: 2, Time: k.time, TransactionID: k.transaction, DataBlockSize: 128, NrDataBlocks: uint64(k.nr)}); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(k.devices)) {
		d := k.devices[id]
		details := d.details
		details.MappedBlocks = uint64(len(d.thin))
		if err := v.BeginDevice(id, details); err != nil {
			return err
		}
		for _, b := range slices.Sorted(maps.Keys(d.thin)) {
			if err := v.Runs([]metadata.Run{d.thin[b]}); err != nil {
				return err
			}
		}
		if err := v.EndDevice(); err != nil {
			return err
		}
	}
	return v.End()
}

// used returns the number of data blocks in use.
func (k *kernel) used() (n uint64) {
	for _, refs := range k.refs {
		if refs > 0 {
			n++
		}
	}
	return n
}

// content returns the content of all devices.
func (k *kernel) content() map[string][]byte {
	all := map[string][]byte{}
	for id, d := range k.devices {
		for b, r := range d.thin {
			all[fmt.Sprint(id, b)] = bytes.Clone(k.data[int(r.Data)*blockBytes:][:blockBytes])
		}
	}
	return all
}

// stream returns the stream and index that thin_send creates from the pool.
func (k *kernel) stream(t testing.TB, since *send.Index, opt send.Stream) (stream, index []byte) {
	t.Helper()
	plan, err := send.NewPlan(k.visit, send.Options{Since: since, State: true})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.NewReader(k.data)
	if since != nil {
		if err := plan.CheckBase(data); err != nil {
			t.Fatal(err)
		}
	}
	var out, idx bytes.Buffer
	if _, err := plan.Send(t.Context(), &out, data, opt); err != nil {
		t.Fatal(err)
	}
	if err := plan.WriteIndex(t.Context(), &idx, data); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), idx.Bytes()
}

func loadIndex(t testing.TB, p []byte) *send.Index {
	t.Helper()
	x, err := send.LoadIndex(bytes.NewReader(p))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const metaBytes = 64 * block.Size

// receive creates a pool from a stream.
func receive(t testing.TB, stream []byte, meta, data block.Device, keep bool, opt send.Target) error {
	in, err := send.Open(bytes.NewReader(stream))
	if err != nil {
		return err
	}
	if err := in.Place(uint64(data.Size())/blockBytes, keep); err != nil {
		return err
	}
	if err := in.Build(nil, nil); err != nil {
		return err
	}
	return in.Receive(t.Context(), meta, data, opt)
}

// visitMetadata returns a Visit of metadata on a device, without defs.
func visitMetadata(t testing.TB, meta block.Device) send.Visit {
	return func(_ bool, v metadata.Visitor) error {
		p, err := metadata.Open(meta, metadata.Options{})
		if err != nil {
			return err
		}
		if err := v.Begin(p.Superblock.Header()); err != nil {
			return err
		}
		for d, err := range p.Devices(t.Context()) {
			if err != nil {
				return err
			}
			if err := v.BeginDevice(d.ID, d.Details); err != nil {
				return err
			}
			for r, err := range p.Runs(t.Context(), d) {
				if err != nil {
					return err
				}
				if err := v.Runs([]metadata.Run{r}); err != nil {
					return err
				}
			}
			if err := v.EndDevice(); err != nil {
				return err
			}
		}
		return v.End()
	}
}

// onto applies an increment to the pool with the metadata base.
func onto(t testing.TB, stream []byte, base, meta, data block.Device) error {
	var state send.State
	if err := visitMetadata(t, base)(true, &state); err != nil {
		return err
	}
	in, err := send.Open(bytes.NewReader(stream))
	if err != nil {
		return err
	}
	blocks := uint64(data.Size()) / blockBytes
	if err := in.PlaceOnto(&state, data, freeOf(t, base, blocks), blocks); err != nil {
		return err
	}
	if err := in.Build(nil, nil); err != nil {
		return err
	}
	return in.Receive(t.Context(), meta, data, send.Target{})
}

// freeOf returns the data blocks that no device maps, one by one.
func freeOf(t testing.TB, meta block.Device, blocks uint64) (free []send.Free) {
	t.Helper()
	used := map[metadata.DataBlock]bool{}
	p, err := metadata.Open(meta, metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range p.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range metadata.DataBlock(r.Len) {
				used[r.Data+i] = true
			}
		}
	}
	for b := range metadata.DataBlock(blocks) {
		if !used[b] {
			free = append(free, send.Free{Begin: b, End: b + 1})
		}
	}
	return free
}

// contentOf returns the content of the devices in the metadata meta; nil without a valid
// superblock.
func contentOf(t testing.TB, meta *blocktest.Mem, data []byte) map[string][]byte {
	t.Helper()
	p, err := metadata.Open(meta, metadata.Options{})
	if err != nil {
		return nil
	}
	all := map[string][]byte{}
	for d, err := range p.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range p.Runs(t.Context(), d) {
			if err != nil {
				t.Fatal(err)
			}
			for i := range r.Len {
				at := (int(r.Data) + int(i)) * blockBytes
				all[fmt.Sprint(d.ID, r.Thin+metadata.ThinBlock(i))] = data[at : at+blockBytes]
			}
		}
	}
	return all
}

func same(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }
