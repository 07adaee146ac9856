package command

import (
	"fmt"
	"os"
	"path/filepath"

	"thinpool/internal/cli"
	"thinpool/internal/newfile"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/internal/write"
	"thinpool/metadata/block"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
	"thinpool/tool/report"
)

// openPage makes the file of --report-html, before anything is written elsewhere; nil if there is
// none.
func (r *Repair) openPage(env *cli.Env) (*source.Output, error) {
	if r.ReportHTML == "" {
		return nil, nil
	}
	return source.CreateOutput(env, r.ReportHTML, "", r.disk().Files(r.Input)...)
}

// page writes the page about the repaired metadata on dev; nil: nothing was written, so the page
// is about what would be.
func (r *Repair) page(env *cli.Env, file *source.Output, from *source.Source, found *repair.Result, dev block.Device) error {
	planned := dev == nil
	if planned {
		plan, err := r.plan(env, found, block.Blocks(from))
		if err != nil {
			return err
		}
		defer plan.Close()
		dev = plan
	}
	about, err := report.Run(env, dev, report.Options{Pool: poolName(from.Place, r.Input), Volume: lvmVolumes(from.Place), Progress: env.Progress})
	if err != nil {
		return err
	}
	if about.Differences, err = differences(env, &source.Source{Device: dev, Place: from.Place}); err != nil {
		return err
	}
	about.Repair = view.RepairPage(&found.Report, planned, from.Name)
	if err := about.HTML(file); err != nil {
		return err
	}
	if source.SameFile(r.Undo, r.ReportHTML) { // by another name
		return fmt.Errorf("the page would overwrite the undo file: %s", r.ReportHTML)
	}
	return file.Commit(env)
}

// plan writes the repaired metadata to a file without a name, which is gone when it is closed. It
// may be larger than memory.
func (r *Repair) plan(env *cli.Env, found *repair.Result, blocks block.Nr) (*scratch, error) {
	b := write.New(write.Options{Progress: env.Progress})
	if err := hand(env, found, dump.Options{Progress: env.Progress}, b); err != nil {
		return nil, err
	}
	file, err := newfile.Create(filepath.Join(os.TempDir(), "thin_repair"), 0o600)
	if err != nil {
		return nil, err
	}
	s := &scratch{file: file}
	err = file.Truncate(int64(max(blocks, b.Least())) * block.Size)
	if err == nil {
		s.Device, err = block.NewFile(file.File)
	}
	if err == nil {
		err = b.Write(env, s)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// A scratch is a device in a file that is not kept.
type scratch struct {
	block.Device
	file *newfile.File
}

// Flush does nothing: nothing of it has to survive.
func (s *scratch) Flush() error { return nil }

func (s *scratch) Close() error {
	s.file.Discard()
	return nil
}
