package browser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// A Bench creates pages in a folder with the tools of the repository at root.
type Bench struct{ root, folder string }

// NewBench builds the tools.
func NewBench(ctx context.Context, root, folder string) (*Bench, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(folder, "thin_tools"), "./cmd/thin_tools")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return &Bench{root, folder}, nil
}

// Path returns the path of a file in the folder.
func (b *Bench) Path(name string) string { return filepath.Join(b.folder, name) }

// Tool runs a tool in the folder. It accepts exit codes up to most.
func (b *Bench) Tool(ctx context.Context, most int, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.Path("thin_tools"), args...)
	cmd.Dir = b.folder
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if exit.ExitCode() <= most {
			return out, nil
		}
		err = fmt.Errorf("%v: %w: %s", args, err, exit.Stderr)
	}
	return out, err
}

// Fixture copies an image of the repository into the folder.
func (b *Bench) Fixture(path, name string) error {
	packed, err := os.Open(filepath.Join(b.root, "fixtures", path+".img.zst"))
	if err != nil {
		return err
	}
	defer packed.Close()
	z, err := zstd.NewReader(packed)
	if err != nil {
		return err
	}
	defer z.Close()
	content, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	return os.WriteFile(b.Path(name), content, 0o600)
}

// Damage zeroes a block of a file in the folder.
func (b *Bench) Damage(name string, block int64) error {
	f, err := os.OpenFile(b.Path(name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 4096), block*4096)
	return errors.Join(err, f.Close())
}

// Pages creates pages of all kinds, and returns their paths.
func Pages(ctx context.Context, root, folder string) ([]string, error) {
	b, err := NewBench(ctx, root, folder)
	if err != nil {
		return nil, err
	}
	err = errors.Join(b.Fixture("kernel/layers", "small"), b.Fixture("kernel/empty", "empty"), b.Fixture("kernel/layers", "damaged"),
		b.Damage("damaged", 150), b.Fixture("kernel/layers", "wiped"), b.Damage("wiped", 0), b.Fixture("lvm/one-pv", "lvm"))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.Path("large"), nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(b.Path("large"), 256<<20); err != nil {
		return nil, err
	}
	var pages []string
	for _, args := range [][]string{
		{"thin_generate", "-o", "large", "--devices", "60", "--mappings", "20000", "--snapshots", "4", "--divergence", "10", "--run-length", "5"},
		{"thin_report", "small", "-o", "small.html"},
		{"thin_report", "empty", "-o", "empty.html"},
		{"thin_report", "large", "-o", "large.html"},
		{"thin_report", "damaged", "-o", "damaged.html"},
		{"thin_report", "wiped", "-o", "wiped.html"},
		{"thin_report", "lvm", "-o", "lvm.html"},
		{"thin_repair", "-i", "damaged", "--dry-run", "--report-html", "repaired.html"},
	} {
		if _, err := b.Tool(ctx, 1, args...); err != nil {
			return nil, err
		}
		if last := args[len(args)-1]; filepath.Ext(last) == ".html" {
			pages = append(pages, b.Path(last))
		}
	}
	return pages, nil
}
