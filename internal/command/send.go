package command

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"thinpool/disk"
	"thinpool/internal/cli"
	"thinpool/internal/lvmthin"
	"thinpool/internal/source"
	"thinpool/metadata"
	"thinpool/streamfmt"
	"thinpool/tool/dump"
	"thinpool/tool/send"
)

// Send is thin_send.
type Send struct {
	cli.Common
	Metadata     string       `help:"Metadata device or file. Not needed with IMAGE." aliases:"metadata-dev" placeholder:"FILE"`
	Data         string       `help:"Data device, or an image of it. Not needed with IMAGE." aliases:"data-dev" placeholder:"FILE"`
	DevID        []deviceID   `help:"Send only this device: an id, or VG/LV in a disk image; repeatable." aliases:"device" placeholder:"ID" name:"dev-id" sep:"none"`
	Output       string       `help:"File to write; standard output if not given." short:"o" placeholder:"FILE"`
	Compress     compression  `help:"Compression of the data." default:"zstd" placeholder:"none|zstd[=LEVEL]"`
	Index        string       `help:"Also write an index to FILE, for later increments." placeholder:"FILE"`
	Since        string       `help:"Send an increment: only what may have changed since FILE, an index, was written." placeholder:"FILE"`
	StartAt      byteSize     `help:"Leave out the data before this byte, as thin_receive says when it was interrupted." name:"start-at" placeholder:"BYTE"`
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Input        string       `arg:"" optional:"" name:"image" help:"Disk, or image of a disk, that holds LVM volumes."`
	volumes
}

// A compression is a zstd level, or none.
type compression struct{ level int }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *compression) UnmarshalText(text []byte) error {
	const usual, most = 1, 22
	how, level, given := strings.Cut(string(text), "=")
	switch {
	case how == "none" && !given:
		c.level = 0
		return nil
	case how != "zstd":
		return fmt.Errorf("%q is not none, zstd or zstd=LEVEL", text)
	case !given:
		c.level = usual
		return nil
	}
	n, err := strconv.Atoi(level)
	if err != nil || n < 1 || n > most {
		return fmt.Errorf("the level of zstd is %q, want a number from 1 to %d", level, most)
	}
	c.level = n
	return nil
}

// Details implements cli.Detailer.
func (s *Send) Details() string {
	return `The stream has the mappings of the devices, each data block in use once, however many devices
share it, and what LVM knows of the volumes. thin_receive makes a pool of it.

An increment needs the index of an earlier stream. It leaves out the data blocks that the
kernel cannot have overwritten since: those that a snapshot shared then.`
}

// Examples implements cli.Exampler.
func (s *Send) Examples() string {
	return `# Copy an inactive pool to another machine
thin_send --metadata tmeta --data tdata | ssh host thin_receive -i - ...
# Send the pool in the image of a disk, and keep an index of it
thin_send --index monday.idx -o monday.tps disk.img
# Send what has changed since
thin_send --since monday.idx -o tuesday.tps disk.img`
}

// Rules implements cli.Ruler.
func (s *Send) Rules() []cli.Rule {
	disk := "IMAGE"
	return append([]cli.Rule{
		{If: []string{disk}, Not: []string{"data", "metadata"}, Why: "LVM knows where they are"},
		{Needs: []string{"metadata", disk}},
		{If: []string{"metadata"}, Needs: []string{"data"}},
		cli.Requires("data", "metadata"),
	}, cli.EachRequires(imageOptions, disk)...)
}

// sendInputs are the inputs of a stream.
type sendInputs struct {
	pool    *metadata.Pool
	data    io.ReaderAt
	advise  func(off, n int64)
	place   *source.Place // nil: not in an image
	devices []metadata.DevID
	close   []io.Closer
}

func (in *sendInputs) Close() {
	for _, c := range in.close {
		c.Close()
	}
}

// Run implements cli.Command.
func (s *Send) Run(env *cli.Env) error {
	if err := s.checkFiles(); err != nil {
		return err
	}
	in := new(sendInputs)
	defer in.Close()
	if err := s.open(env, in); err != nil {
		return err
	}
	plan, err := s.plan(env, in)
	if err != nil {
		return err
	}
	if plan.Header.Base != nil {
		if err := plan.CheckBase(in.data); err != nil {
			return fmt.Errorf("%s: %w", s.Since, err)
		}
	}
	sum, err := s.write(env, in, plan)
	if err != nil {
		return err
	}
	return s.report(env, plan, sum)
}

// checkFiles makes sure that no output is also an input.
func (s *Send) checkFiles() error {
	if s.Data != "" && source.SameFile(s.Metadata, s.Data) {
		return cli.Usagef("metadata and data are the same file: %s", s.Data)
	}
	outs := []string{s.Output, s.Index}
	for i, out := range outs {
		if out == "" || out == "-" {
			continue
		}
		for _, in := range append(s.disk().Files(s.Input), s.Metadata, s.Data, s.Since) {
			if in != "" && source.SameFile(in, out) {
				return cli.Usagef("%s is an input, so it cannot be the output", out)
			}
		}
		if i > 0 && (out == s.Output || source.SameFile(out, s.Output)) {
			return cli.Usagef("two outputs are the same file: %s", out)
		}
	}
	if s.Index == "-" {
		return cli.Usagef("--index: - is not possible, because the stream may go there")
	}
	return nil
}

// open opens all inputs.
func (s *Send) open(env *cli.Env, in *sendInputs) error {
	if s.Input != "" {
		return s.openImage(env, in)
	}
	pool, meta, err := source.OpenPool(env, source.Spec{Path: s.Metadata, Snapshot: s.MetadataSnap, Packs: true})
	if err != nil {
		return err
	}
	in.pool, in.close = pool, append(in.close, meta)
	data, err := source.OpenData(env, s.Data, s.MetadataSnap.Set)
	if err != nil {
		return err
	}
	in.data, in.advise, in.close = data, data.Advise, append(in.close, data)
	return s.choose(in)
}

// openImage opens a pool on a disk.
func (s *Send) openImage(env *cli.Env, in *sendInputs) error {
	disks, err := s.disk().Open(env, s.Input, disk.Options{Shared: s.MetadataSnap.Set})
	if err != nil {
		return err
	}
	in.close = append(in.close, disks)
	if disks.Part != nil {
		return fmt.Errorf("%s: a partition is not a pool", disks.Part)
	}
	if in.place, err = s.disk().Find(env, s.Input, disks); err != nil {
		return err
	}
	if in.place.Pool == nil {
		return fmt.Errorf("%s: LVM does not know it as the metadata of a pool", in.place.Volume.Name)
	}
	opt := lvmthin.Options{Leg: s.Leg, Note: func(text string) { env.Log.Info(text) }}
	dev, err := lvmthin.Metadata(in.place.Group, in.place.Pool, opt)
	if err != nil {
		return err
	}
	in.pool, err = metadata.Open(dev, metadata.Options{Snapshot: s.MetadataSnap.Set, SnapshotBlock: source.SnapshotBlock(s.MetadataSnap)})
	switch {
	case errors.Is(err, metadata.ErrNoSnapshot):
		return source.NoSnapshot(s.Input, err)
	case err != nil:
		return source.Damaged(source.Hint(err))
	}
	src, err := lvmthin.Source(env, in.place.Group, in.place.Pool, nil, opt)
	if err != nil {
		return err
	}
	in.data = src.Data
	return s.choose(in)
}

// choose resolves the devices the options name; nil: all.
func (s *Send) choose(in *sendInputs) error {
	for i := range s.DevID {
		id, err := s.DevID[i].in(in.place)
		if err != nil {
			return err
		}
		in.devices = append(in.devices, metadata.DevID(*id))
	}
	return nil
}

// plan plans the stream.
func (s *Send) plan(env *cli.Env, in *sendInputs) (*send.Plan, error) {
	visit := func(flat bool, v metadata.Visitor) error {
		return source.Damaged(dump.Run(env, in.pool, dump.Options{Devices: in.devices, Flat: flat, LiveSize: true}, v))
	}
	opt := send.Options{State: s.Index != "", Start: uint64(s.StartAt)}
	if p := in.place; p != nil {
		opt.Pool, opt.PoolID = p.Group.Name+"/"+p.Pool.Name, p.Pool.ID
	}
	if s.Since != "" {
		file, err := env.OpenFile(s.Since)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		if opt.Since, err = send.LoadIndex(env.Patient(file)); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Since, err)
		}
	}
	env.Progress("reading the metadata", 0, 0)
	plan, err := send.NewPlan(visit, opt)
	if errors.Is(err, send.ErrBase) {
		err = fmt.Errorf("%s: %w", s.Since, err)
	}
	return plan, err
}

// write writes the stream, then the index.
func (s *Send) write(env *cli.Env, in *sendInputs, plan *send.Plan) (streamfmt.Summary, error) {
	var none streamfmt.Summary
	inputs := append(s.disk().Files(s.Input), s.Metadata, s.Data)
	out, err := source.CreateOutput(env, s.Output, "none", inputs...)
	if err != nil {
		return none, err
	}
	defer out.Discard()
	opt := send.Stream{Level: s.Compress.level, Advise: in.advise, Progress: env.Progress}
	if in.place != nil {
		opt.Volumes, opt.Text = sentVolumes(in.place, in.devices), in.place.Group.Text
	}
	sum, err := plan.Send(env, out, in.data, opt)
	if err == nil {
		err = in.pool.CheckSnapshotHeld()
	}
	if err == nil {
		err = out.Commit(env)
	}
	if err != nil || s.Index == "" {
		return sum, err
	}
	index, err := source.CreateOutput(env, s.Index, "none", inputs...)
	if err != nil {
		return none, err
	}
	defer index.Discard()
	if err := plan.WriteIndex(env, index, in.data); err != nil {
		return none, fmt.Errorf("%s: %w", s.Index, err)
	}
	return sum, index.Commit(env)
}

// sentVolumes returns what LVM knows about the given devices, or about all if none are given.
func sentVolumes(p *source.Place, ids []metadata.DevID) []streamfmt.Volume {
	sent := map[metadata.DevID]bool{}
	for _, id := range ids {
		sent[id] = true
	}
	all := []streamfmt.Volume{}
	for _, v := range p.Group.LVs {
		t := v.Thin()
		if t == nil || t.Pool != p.Pool.Name || ids != nil && !sent[metadata.DevID(t.DeviceID)] {
			continue
		}
		writable := false
		for _, word := range v.Status {
			writable = writable || word == "WRITE"
		}
		all = append(all, streamfmt.Volume{DevID: t.DeviceID, Name: v.Name, Bytes: v.Size, Origin: t.Origin, ExternalOrigin: t.ExternalOrigin, ReadOnly: !writable})
	}
	return all
}

// report prints what was sent.
func (s *Send) report(env *cli.Env, plan *send.Plan, sum streamfmt.Summary) error {
	h := &plan.Header
	_, err := fmt.Fprintf(env.Stderr, "%d of %d data blocks in use were sent: %s of data, %s of zeros\n",
		h.Sent, h.Used, cli.HumanSize(sum.DataBytes), cli.HumanSize(sum.ZeroBytes))
	return err
}
