package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"thinpool/internal/cli"
	"thinpool/internal/pdata/spacemap"
	"thinpool/internal/printable"
	"thinpool/internal/source"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/dump"
	"thinpool/tool/export"
	"thinpool/tool/send"
	"thinpool/tool/trim"
)

// Receive is thin_receive.
type Receive struct {
	cli.Common
	Input      string `help:"Stream of thin_send; - is standard input." short:"i" required:"" placeholder:"FILE"`
	Metadata   string `help:"Metadata device or file to write. A file that does not exist is created." aliases:"metadata-dev" placeholder:"FILE"`
	Data       string `help:"Data device or file to write. A file that does not exist is created." aliases:"data-dev" placeholder:"FILE"`
	KeepPlaces bool   `help:"Put data blocks where the sender has them. Without it, they lie one after the other." name:"keep-places"`
	Onto       string `help:"Apply an increment to the pool whose metadata is FILE, which is never written." placeholder:"FILE"`
	Resume     bool   `help:"Continue an interrupted receive."`
	Journal    string `help:"Record progress in this file. For files, the default is the data file with .resume added." placeholder:"FILE"`
	force
	LVMText string `help:"Write what LVM knew of the sender's volume group to this file." name:"lvm-text" placeholder:"FILE"`
}

// Details implements cli.Detailer.
func (r *Receive) Details() string {
	return `The old contents of both outputs are lost. Everything is checked against the size of the
outputs before anything is written. The superblock is written last, when the data is on stable
storage and the checksums of the whole stream are right: a stream that is cut or damaged leaves
no valid metadata.

With --onto, new data goes only to free blocks. The old metadata stays valid until you use the
new one: a failure loses nothing.`
}

// Examples implements cli.Exampler.
func (r *Receive) Examples() string {
	return `# Make a pool in two files
thin_receive -i monday.tps --metadata meta --data data
# Apply an increment
thin_receive -i tuesday.tps --onto meta --metadata newmeta --data data`
}

// Rules implements cli.Ruler.
func (r *Receive) Rules() []cli.Rule {
	return []cli.Rule{cli.Exclusive("onto", "keep-places"), cli.OneOf("metadata"), cli.OneOf("data")}
}

// Run implements cli.Command.
func (r *Receive) Run(env *cli.Env) error {
	if err := r.checkFiles(); err != nil {
		return err
	}
	file, err := r.input(env)
	if err != nil {
		return err
	}
	defer file.Close()
	in, err := send.Open(env.Patient(file))
	if err != nil {
		return fmt.Errorf("%s: %w", r.Input, err)
	}
	out := &received{in: in}
	defer out.Close()
	if err := r.place(env, out); err != nil {
		return err
	}
	if err := in.Build(func(text string) { env.Log.Info(text) }, env.Progress); err != nil {
		return fmt.Errorf("%s: %w", r.Input, err)
	}
	if err := r.start(out); err != nil {
		return err
	}
	if err := r.outputs(env, out); err != nil {
		return err
	}
	if err := r.text(env, in); err != nil {
		return err
	}
	if err := r.receive(env, out); err != nil {
		return err
	}
	return r.advise(env, in)
}

// checkFiles makes sure that all files are different.
func (r *Receive) checkFiles() error {
	outs := []string{r.Metadata, r.Data, r.journalPath(), r.LVMText}
	for i, out := range outs {
		for _, in := range []string{r.Input, r.Onto} {
			if out != "" && in != "" && (out == in || source.SameFile(in, out)) {
				return cli.Usagef("%s is an input, so it cannot be the output", out)
			}
		}
		for _, other := range outs[:i] {
			if out != "" && (out == other || source.SameFile(out, other)) {
				return cli.Usagef("two outputs are the same file: %s", out)
			}
		}
	}
	if r.Resume && r.journalPath() == "" {
		return cli.Usagef("--resume: a receive to a block device can only be resumed if it was started with --journal")
	}
	return nil
}

func (r *Receive) input(env *cli.Env) (io.ReadCloser, error) {
	if r.Input == "-" {
		return io.NopCloser(env.Stdin), nil
	}
	return env.OpenFile(r.Input)
}

// received holds the inputs and outputs of a receive.
type received struct {
	in         *send.In
	base       *source.Source // nil: the stream has a whole pool
	data, meta block.Device
	blocks     uint64 // size of the data device
	zero       bool   // the data file is new and reads as zeros
	old        *export.Journal
	journal    export.Journal
}

func (o *received) Close() {
	for _, dev := range []block.Device{o.data, o.meta} {
		if dev != nil {
			dev.Close()
		}
	}
	if o.base != nil {
		o.base.Close()
	}
}

// place finds a place for each data block.
func (r *Receive) place(env *cli.Env, out *received) error {
	_, err := os.Stat(r.Data)
	switch {
	case err == nil || r.Onto != "":
		if out.data, err = source.OpenDataForWriting(env, r.Data); err != nil {
			return err
		}
		out.blocks = min(uint64(out.data.Size())/out.in.Bytes(1), spacemap.MaxMetadata*spacemap.PerBitmap)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		out.zero, out.blocks = true, out.in.Header.DataBlocks
	}
	if r.Onto != "" {
		return r.placeOnto(env, out)
	}
	if err := r.mayReplace(r.Data, out.data); err != nil {
		return err
	}
	if err := out.in.Place(out.blocks, r.KeepPlaces); err != nil {
		return fmt.Errorf("%s: %w", r.Data, err)
	}
	return nil
}

// placeOnto finds places in an existing pool.
func (r *Receive) placeOnto(env *cli.Env, out *received) error {
	pool, base, err := source.OpenPool(env, source.Spec{Path: r.Onto, Access: source.ReadIdle})
	if err != nil {
		return err
	}
	out.base = base
	if err := refuseFaults(env, base, "nothing is written"); err != nil {
		return fmt.Errorf("%s: %w", r.Onto, err)
	}
	var state send.State
	if err := dump.Run(env, pool, dump.Options{Flat: true}, &state); err != nil {
		return fmt.Errorf("%s: %w", r.Onto, source.Damaged(err))
	}
	ranges, err := trim.Free(env, base, trim.Options{Progress: env.Progress})
	if err != nil {
		return fmt.Errorf("%s: %w", r.Onto, source.Damaged(err))
	}
	old := pool.Live.DataSpaceMap.NrBlocks
	if old > out.blocks {
		return fmt.Errorf("%s: %w: it has room for %d data blocks, and the pool has %d", r.Data, send.ErrTooSmall, out.blocks, old)
	}
	var free []send.Free
	for _, f := range ranges {
		free = append(free, send.Free(f))
	}
	free = append(free, send.Free{Begin: metadata.DataBlock(old), End: metadata.DataBlock(out.blocks)})
	if err := out.in.PlaceOnto(&state, block.Unaligned(out.data), free, out.blocks); err != nil {
		return fmt.Errorf("%s: %w", r.Onto, err)
	}
	return nil
}

// mostCreated limits metadata that is created only because a stream asks for it. A few bytes of a
// stream can claim any number of data blocks and mappings.
const mostCreated block.Nr = 1 << 30 / block.Size

// outputs opens or creates the outputs. It creates nothing unless everything fits.
func (r *Receive) outputs(env *cli.Env, out *received) error {
	needed := out.in.MetadataBlocks()
	_, err := os.Stat(r.Metadata)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case missing && needed > mostCreated:
		return fmt.Errorf("%s: the new metadata takes %d bytes, for a pool of %d data blocks of %d bytes. If that is right, create the file first, with at least that size, or use a device",
			r.Metadata, needed*block.Size, out.blocks, out.in.Bytes(1))
	case !missing:
		if out.meta, err = source.OpenDataForWriting(env, r.Metadata); err != nil {
			return err
		}
		if err := r.mayReplace(r.Metadata, out.meta); err != nil {
			return err
		}
		if err := out.in.Fits(block.Blocks(out.meta)); err != nil {
			return fmt.Errorf("%s: %w", r.Metadata, err)
		}
	}
	if out.data == nil {
		if out.data, err = create(env, r.Data, out.in.Bytes(out.blocks)); err != nil {
			return err
		}
	}
	if missing {
		out.meta, err = create(env, r.Metadata, metadataBytes(needed))
		return err
	}
	return nil
}

// mayReplace refuses outputs that hold something else. A resumed receive has already written there.
func (r *Receive) mayReplace(path string, dev block.Device) error {
	if dev == nil || r.Force || r.Resume {
		return nil
	}
	return source.Occupied(path, dev)
}

// metadataBytes returns the size of a new metadata file: twice the need, so that the pool can grow.
func metadataBytes(needed block.Nr) uint64 {
	const unit = 4 << 20 / block.Size
	return uint64(min(2*needed/unit*unit+unit, spacemap.MaxMetadata+unit)) * block.Size
}

// create creates a file of size zero bytes.
func create(env *cli.Env, path string, size uint64) (block.Device, error) {
	if source.IsPlace(path) {
		return nil, cli.Usagef("%s: a new pool is not written to a place in an image", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if size > math.MaxInt64 {
		size = math.MaxInt64 // the system refuses that size
	}
	err = f.Truncate(int64(size))
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	return source.OpenDataForWriting(env, path)
}

func (r *Receive) journalPath() string {
	if r.Journal != "" {
		return r.Journal
	}
	if info, err := os.Stat(r.Data); err == nil && !info.Mode().IsRegular() {
		return ""
	}
	return r.Data + ".resume"
}

// start finds out how far an interrupted receive got.
func (r *Receive) start(out *received) error {
	out.journal.Size = int64(out.in.Bytes(out.in.Header.DataBlocks))
	fresh := "no"
	path := r.journalPath()
	if r.Resume {
		var err error
		out.old, err = export.LoadJournal(path)
		if err != nil {
			return fmt.Errorf("cannot resume: %w", err)
		}
		if n := len(out.old.Of); n > 0 && out.old.Of[n-1].Name == newData {
			fresh = out.old.Of[n-1].Value
		}
	} else if _, err := os.Lstat(path); path != "" && err == nil {
		return fmt.Errorf("%s exists: a receive was interrupted. Use --resume to continue it, or remove that file to start over", path)
	} else if out.zero {
		fresh = "yes"
	}
	fact := func(name string, value any) {
		out.journal.Of = append(out.journal.Of, export.Fact{Name: name, Value: fmt.Sprint(value)})
	}
	fact("stream", out.in.ID())
	fact("data blocks", out.blocks)
	fact("keep places", r.KeepPlaces)
	fact("onto", r.Onto)
	fact(newData, fresh)
	if out.old == nil {
		return nil
	}
	if err := out.old.Same(&out.journal); err != nil {
		return fmt.Errorf("%s: cannot resume: %w", path, err)
	}
	out.journal.Position, out.zero = out.old.Position, fresh == "yes"
	return nil
}

const newData = "new data file"

// receive writes everything.
func (r *Receive) receive(env *cli.Env, out *received) error {
	path := r.journalPath()
	opt := send.Target{Zero: out.zero, From: uint64(out.journal.Position), Progress: env.Progress}
	if path != "" {
		opt.Checkpoint = func(position uint64) error {
			next := out.journal
			next.Position = int64(position)
			if err := next.Save(path); err != nil {
				return err
			}
			out.journal = next
			return nil
		}
		if err := out.journal.Save(path); err != nil {
			return err
		}
	}
	if err := out.in.Receive(env, out.meta, out.data, opt); err != nil {
		if path != "" {
			fmt.Fprintln(env.Stderr, r.continuing(out.journal.Position))
		}
		return fmt.Errorf("%s: %w", r.Input, err)
	}
	if path != "" {
		return os.Remove(path)
	}
	return nil
}

// continuing says how to continue a receive that broke off after so many bytes of the stream.
func (r *Receive) continuing(received int64) string {
	s := fmt.Sprintf("%s is not usable yet: run the same command with --resume to continue", r.Metadata)
	if received > 0 {
		s += fmt.Sprintf(", with all of the stream or from byte %d on (thin_send --start-at %d)", received, received)
	}
	return s
}

// text writes LVM's text to a file.
func (r *Receive) text(env *cli.Env, in *send.In) error {
	switch {
	case r.LVMText == "":
		return nil
	case in.Text == nil:
		return fmt.Errorf("--lvm-text: the stream has no text of LVM, because the pool was not sent from a disk with LVM on it")
	}
	out, err := source.CreateOutput(env, r.LVMText, "none")
	if err != nil {
		return err
	}
	defer out.Discard()
	if _, err := out.Write(in.Text); err != nil {
		return err
	}
	return out.Commit(env)
}

// advise shows how to create volumes with the original names and sizes in LVM.
func (r *Receive) advise(env *cli.Env, in *send.In) error {
	if _, err := fmt.Fprintf(env.Stderr, "%d data blocks in use were received\n", in.Header.Used); err != nil || len(in.Volumes) == 0 {
		return err
	}
	if _, err := fmt.Fprintf(env.Stdout, "# %s had these volumes; in a pool of your own:\n", in.Header.Pool); err != nil {
		return err
	}
	for _, v := range in.Volumes {
		note := fmt.Sprintf("device %d", v.DevID)
		if v.Origin != "" {
			note += ", a snapshot of " + v.Origin
		}
		if v.ExternalOrigin != "" {
			note += ", with the external origin " + v.ExternalOrigin + ", which was not sent"
		}
		if _, err := fmt.Fprintf(env.Stdout, "lvcreate -V %db -n %s --thinpool VG/POOL # %s\n", v.Bytes, printable.Shell(v.Name), note); err != nil {
			return err
		}
	}
	return nil
}
