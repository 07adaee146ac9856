package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
	"thinpool/tool/explore"
	"thinpool/xmlfmt"
)

// A Screen is a terminal.
type Screen struct {
	// Show runs a model until the user quits; nil: there is no terminal.
	Show      func(ctx context.Context, m explore.Model, first explore.Effects) error
	CellWidth func(rune) int // how many columns a character takes
}

// ExploreTool returns thin_explore. It has its own binary, so that thin_tools does not link the packages that
// draw on a terminal. With the zero Screen it has all options, but prints only one screen.
func ExploreTool(screen Screen) cli.Tool {
	return cli.Tool{
		Name: "thin_explore", Summary: "Look around in thin provisioning metadata, block by block.",
		New: func() cli.Command { return &Explore{screen: screen} },
	}
}

// Explore is thin_explore.
type Explore struct {
	cli.Common
	NodePath     string       `help:"Begin at this block: a path such as 0/20/31, as y copies it, or as thin_check 1.x prints it." short:"p" placeholder:"PATH"`
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	Dump         bool         `help:"Print one screen and exit."`
	Keys         string       `help:"With --dump: press these keys first, separated by spaces." placeholder:"KEYS"`
	Size         string       `help:"With --dump: the size of the screen." default:"80x24" placeholder:"COLUMNSxLINES"`
	Input        string       `arg:"" help:"Metadata device or file."`
	volumes

	screen Screen
}

// Details implements cli.Detailer.
func (x *Explore) Details() string {
	return `The left side lists the entries of a block, the right side says what is selected. Enter
follows a pointer, Backspace goes back, ? lists all keys. Nothing is written to the metadata.
Damaged blocks are shown as far as they make sense; "!" marks them.`
}

// Examples implements cli.Exampler.
func (x *Explore) Examples() string {
	return `# Look around in the metadata of an inactive pool
thin_explore /dev/mapper/vg-pool_tmeta
# Print the path to the first fault
thin_explore --dump --keys f pool.meta`
}

// Rules implements cli.Ruler.
func (x *Explore) Rules() []cli.Rule { return cli.EachRequires([]string{"keys"}, "dump") }

// Run implements cli.Command.
func (x *Explore) Run(env *cli.Env) (err error) {
	size, err := screenSize(x.Size)
	if err != nil {
		return err
	}
	if !x.Dump && (!env.Terminal || x.screen.Show == nil) {
		return errors.New("standard output is not a terminal: --dump prints one screen")
	}
	if x.NodePath != "" {
		if _, err := explore.ParseNodePath(x.NodePath); err != nil {
			return cli.Usagef("--node-path: %w", err)
		}
	}
	dev, err := source.Open(env, source.Spec{Path: x.Input, Snapshot: x.MetadataSnap, Packs: true, Disk: x.disk(), Doubtful: true, Partial: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	if x.MetadataSnap.Set {
		if _, err := dev.Pool(env); err != nil {
			return err
		}
	}
	opt := explore.Options{
		Device: dev, Path: x.Input, Snapshot: x.MetadataSnap.Set, Name: dev.Name, NodePath: x.NodePath, Doubt: dev.Doubt,
		ParseSize: parseBytes, Export: x.exporter(env), CellWidth: x.screen.CellWidth,
	}
	if dev.Place != nil && dev.Name != nil {
		opt.DevID = func(name string) (uint64, error) {
			id, err := dev.Place.DevID(name)
			return uint64(id), err
		}
	}
	m, first := explore.New(opt)
	if !x.Dump {
		return x.screen.Show(env, m, first)
	}
	m = explore.Play(env, m, first, append([]explore.Msg{size}, explore.Keys(x.Keys)...)...)
	if env.Err() != nil {
		return context.Cause(env)
	}
	_, err = fmt.Fprint(env.Stdout, m.Text())
	return err
}

// screenSize parses a size such as 80x24.
func screenSize(text string) (explore.Size, error) {
	width, height, _ := strings.Cut(text, "x")
	w, errW := strconv.ParseUint(width, 10, 10)
	h, errH := strconv.ParseUint(height, 10, 10)
	if errors.Join(errW, errH) != nil || w == 0 || h == 0 {
		return explore.Size{}, cli.Usagef("--size %q: want columns and lines, as 80x24, less than 1024 each", text)
	}
	return explore.Size{Width: int(w), Height: int(h)}, nil
}

func parseBytes(text string) (uint64, error) {
	var size cli.Size
	err := size.UnmarshalText([]byte(text))
	return size.Bytes, err
}

// exporter writes XML to new files. It never overwrites a file: it may be the one being explored.
func (x *Explore) exporter(env *cli.Env) func(context.Context, string, func(metadata.Visitor) error) error {
	return func(ctx context.Context, path string, write func(metadata.Visitor) error) error {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is there already: give another name", path)
		}
		out, err := source.CreateOutput(env, path, "", x.disk().Files(x.Input)...)
		if err != nil {
			return err
		}
		defer out.Discard()
		if err := write(xmlfmt.NewWriter(out, xmlfmt.Style1)); err != nil {
			return err
		}
		return out.Commit(ctx)
	}
}
