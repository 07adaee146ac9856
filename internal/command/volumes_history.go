package command

import (
	"errors"
	"fmt"
	"slices"

	"thinpool/internal/cli"
	"thinpool/internal/lvmreport"
	"thinpool/internal/printable"
	"thinpool/internal/source"
	"thinpool/internal/view"
)

// printHistory lists the texts still on the disks, or prints one of them.
func (t *ThinVolumes) printHistory(env *cli.Env, p *source.Disks) error {
	source.SayProblems(env, p.Problems)
	env.Progress("looking for LVM metadata", 0, 0)
	texts, err := lvmreport.History(env, p.Set, func(err error) { fmt.Fprintf(env.Stderr, "note: %s\n", printable.Text(err.Error())) })
	if err != nil {
		return err
	}
	if t.VG != "" {
		texts = slices.DeleteFunc(texts, func(x lvmreport.Text) bool { return x.Name != t.VG && x.ID != t.VG })
		if len(texts) == 0 {
			return fmt.Errorf("--vg %s: no LVM metadata was found for it", t.VG)
		}
	}
	switch {
	case len(texts) == 0:
		return errors.New("no LVM metadata was found in any metadata area")
	case t.Seqno.set:
		return t.printOld(env, p, texts)
	case t.Format == "json":
		return view.HistoryJSON(env.Stdout, texts)
	}
	return view.HistoryText(env.Stdout, texts)
}

// printOld prints the text selected by --seqno.
func (t *ThinVolumes) printOld(env *cli.Env, p *source.Disks, texts []lvmreport.Text) error {
	var found, similar []string
	var text *lvmreport.Text
	for i := range texts {
		x := &texts[i]
		if x.Seqno != t.Seqno.seqno {
			continue
		}
		similar = append(similar, fmt.Sprintf("%s (%s, %s UTC)", view.TextNumber(x), x.Name, view.UTC(x.CreationTime)))
		if t.Seqno.variant == 0 || t.Seqno.variant == x.Variant {
			found, text = append(found, x.ID), x
		}
	}
	switch {
	case len(found) == 0 && len(similar) > 0:
		return fmt.Errorf("--seqno: not found; with this sequence number there are %s", source.List(similar))
	case len(found) == 0:
		return fmt.Errorf("--seqno: sequence number %d was not found; --history lists those that are left", t.Seqno.seqno)
	case len(found) > 1:
		return fmt.Errorf("--seqno: several versions have sequence number %d: %s; choose one with N.K, and the volume group with --vg", t.Seqno.seqno, source.List(similar))
	}
	raw, err := text.Read(env, p.Set)
	if err == nil && raw == nil {
		err = errors.New("the LVM metadata is no longer there")
	}
	if err != nil {
		return err
	}
	_, err = env.Product.Write(raw)
	return err
}
