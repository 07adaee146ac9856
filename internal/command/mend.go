package command

import (
	"errors"
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/undo"
	"thinpool/tool/check"
)

// mend checks and repairs. The device is opened for writing only if something has
// to be written: that alone makes some systems look at it anew.
func (c *Check) mend(env *cli.Env, dev *source, opt check.Options, out *faultPrinter) error {
	sum, repair, err := check.PlanFix(env, dev, opt, out.fault)
	if err != nil {
		return differHint(err)
	}
	if repair == nil {
		out.say("nothing was repaired, as there are fatal faults")
		out.summary(sum)
		return cli.ErrReported
	}
	if repair.Needed() {
		if err := c.write(env, dev, repair); err != nil {
			return err
		}
	}
	out.repaired(repair)
	if repair.NoRoom != nil {
		out.say(fmt.Sprintf("leaks, counters and snapshotted times stay as they are: %v", repair.NoRoom))
	}
	out.summary(sum)
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

// write carries the repair out, the undo file first.
func (c *Check) write(env *cli.Env, dev *source, repair *check.Fix) error {
	to, err := dev.writable()
	if err != nil {
		return err
	}
	if c.Undo != "" {
		env.Progress("writing "+c.Undo, 0, 0)
		change := undo.Change{Released: repair.Released(), Written: repair.Blocks(), Block0: repair.Block0()}
		if err := undo.Create(env, c.Undo, dev, change); err != nil {
			return fmt.Errorf("undo file: %w; nothing was mended", differHint(err))
		}
	}
	env.Progress("mending", 0, 0)
	env.Log.Info("mending", "blocks", len(repair.Blocks()))
	if err := repair.Write(env, to); err != nil {
		return fmt.Errorf("%s: %w", c.Input, err)
	}
	return nil
}

// applyUndo undoes a repair.
func (c *Check) applyUndo(env *cli.Env) error {
	file, in, err := openUndo(env, c.ApplyUndo)
	if err != nil {
		return err
	}
	defer in.Close()
	dev, err := c.openUndone(env)
	if err != nil {
		return err
	}
	defer dev.Close()
	to, err := dev.writable()
	if err != nil {
		return err
	}
	err = file.Apply(env, to, cli.ForeignBlock)
	if errors.Is(err, undo.ErrOther) {
		if is := cli.Recognise(dev); is != nil {
			err = fmt.Errorf("%w. Nothing was written", is)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Input, err)
	}
	return nil
}

// openUndone opens what a repair is to be undone on, which may be half metadata.
func (c *Check) openUndone(env *cli.Env) (*source, error) {
	if c.InPlace {
		dev, _, err := c.openInPlace(env, c.Input)
		return dev, err
	}
	dev, err := cli.OpenOutput(c.Input)
	return &source{Device: dev}, diskHint(err, "--in-place")
}

// say prints a sentence that is no fault.
func (p *faultPrinter) say(text string) {
	if !p.quiet {
		fmt.Fprintln(p.err, text)
	}
}

// mendedRecord is faults that were mended, in JSON.
type mendedRecord struct {
	Type     string     `json:"type"` // "mended"
	Code     check.Code `json:"code"`
	Severity string     `json:"severity"`
	Tree     string     `json:"tree"`
	Faults   uint64     `json:"faults"`
	Blocks   uint64     `json:"blocks,omitempty"`  // whose counts were wrong
	Devices  uint64     `json:"devices,omitempty"` // that got a later snapshotted_time
	Time     uint32     `json:"time,omitempty"`    // which is this
}

// roomRecord is free metadata blocks that mending takes, and that there are.
type roomRecord struct {
	Needed uint64 `json:"needed"`
	Have   uint64 `json:"have"`
}

// repaired prints what was mended.
func (p *faultPrinter) repaired(r *check.Fix) {
	if p.live != nil {
		p.live = &r.Superblock
	}
	p.noRoom = r.NoRoom
	for _, m := range r.Fixed {
		p.mended += m.Faults
		p.settled(m)
		switch {
		case p.quiet:
		case p.json:
			p.line(mendedRecord{"mended", m.Code, m.Severity.String(), m.Tree, m.Faults, m.Blocks, m.Devices, m.Time})
		default:
			fmt.Fprintf(p.err, "mended: %v\n", m)
		}
	}
}
