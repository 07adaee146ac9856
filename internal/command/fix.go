package command

import (
	"errors"
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/undo"
	"thinpool/internal/view"
	"thinpool/tool/check"
)

// fix checks and repairs. It opens the device for writing only if there is something to write:
// opening alone makes some systems rescan it.
func (c *Check) fix(env *cli.Env, dev *source.Source, opt check.Options, out *view.FaultPrinter) error {
	sum, repair, err := check.PlanFix(env, dev, opt, hinted(out.Fault))
	if err != nil {
		return source.DifferHint(err)
	}
	if repair == nil {
		out.Say("nothing was repaired, because there are fatal faults")
		out.Summary(sum)
		return cli.ErrReported
	}
	if repair.Needed() {
		if err := c.write(env, dev, repair); err != nil {
			return err
		}
	}
	out.Repaired(repair)
	if repair.Needed() && c.Undo != "" {
		out.Say(source.UndoHint(c.Undo, c.Input, c.InPlace))
	}
	if repair.NoRoom != nil {
		out.Say(fmt.Sprintf("leaks, counters and snapshotted times were not changed: %v", repair.NoRoom))
	}
	out.Summary(sum)
	if repair.NoRoom != nil && c.AutoRepair {
		return cli.ErrReported
	}
	for _, m := range repair.Fixed {
		if m.Severity == check.NonFatal {
			sum.NonFatal -= m.Faults
		} else {
			sum.Notes -= m.Faults
		}
	}
	return c.verdict(sum)
}

// write writes the undo file, then the repair.
func (c *Check) write(env *cli.Env, dev *source.Source, repair *check.Fix) error {
	to, err := dev.Writable()
	if err != nil {
		return err
	}
	if c.Undo != "" {
		env.Progress("writing "+c.Undo, 0, 0)
		change := undo.Change{Released: repair.Released(), Written: repair.Blocks(), Block0: repair.Block0()}
		if err := undo.Create(env, c.Undo, dev, change); err != nil {
			return fmt.Errorf("undo file: %w; nothing was fixed", source.DifferHint(err))
		}
	}
	env.Progress("fixing", 0, 0)
	env.Log.Info("fixing", "blocks", len(repair.Blocks()))
	if err := repair.Write(env, to); err != nil {
		return fmt.Errorf("%s: %w", c.Input, err)
	}
	return nil
}

// applyUndo undoes a repair.
func (c *Check) applyUndo(env *cli.Env) error {
	file, in, err := source.OpenUndo(env, c.ApplyUndo)
	if err != nil {
		return err
	}
	defer in.Close()
	dev, err := source.Open(env, c.undone())
	if err != nil {
		return err
	}
	defer dev.Close()
	to, err := dev.Writable()
	if err != nil {
		return err
	}
	err = file.Apply(env, to, source.ForeignBlock)
	if errors.Is(err, undo.ErrOther) || errors.Is(err, undo.ErrSize) {
		switch is := source.Recognise(dev); {
		case errors.Is(is, source.ErrDisk) && !c.InPlace:
			err = fmt.Errorf("%w; on a raw disk, --in-place writes into the metadata volume. Nothing was written", is)
		case is != nil:
			err = fmt.Errorf("%w. Nothing was written", is)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Input, err)
	}
	return nil
}

// undone says how to open the target of an undo, which may be half-written metadata.
func (c *Check) undone() source.Spec {
	if c.InPlace {
		return source.Spec{Path: c.Input, Access: source.Claim, Disk: c.disk(), Doubtful: true, Force: true}
	}
	return source.Spec{Path: c.Input, Access: source.Overwrite, Force: true}
}
