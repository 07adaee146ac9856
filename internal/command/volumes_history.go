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

// printHistory lists the texts that are still on the disks, or prints one of them.
func (t *ThinVolumes) printHistory(env *cli.Env, p *source.Disks) error {
	source.SayProblems(env, p.Problems)
	env.Progress("looking for texts", 0, 0)
	texts, err := lvmreport.History(env, p.Set, func(err error) { fmt.Fprintf(env.Stderr, "note: %s\n", printable.Text(err.Error())) })
	if err != nil {
		return err
	}
	if t.VG != "" {
		texts = slices.DeleteFunc(texts, func(x lvmreport.Text) bool { return x.Name != t.VG && x.ID != t.VG })
		if len(texts) == 0 {
			return fmt.Errorf("--vg %s: there is no text about it", t.VG)
		}
	}
	switch {
	case len(texts) == 0:
		return errors.New("there is no text in any metadata area")
	case t.Seqno.set:
		return t.printOld(env, p, texts)
	case t.Format == "json":
		return view.HistoryJSON(env.Stdout, texts)
	}
	return view.HistoryText(env.Stdout, texts)
}

// printOld prints the text that --seqno names.
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
		return fmt.Errorf("--seqno: there is no such text; of this number there are %s", source.List(similar))
	case len(found) == 0:
		return fmt.Errorf("--seqno: no text with the number %d is left; --history lists those that are", t.Seqno.seqno)
	case len(found) > 1:
		return fmt.Errorf("--seqno: there are several texts with the number %d: %s; choose with N.K, and the group with --vg", t.Seqno.seqno, source.List(similar))
	}
	raw, err := text.Read(env, p.Set)
	if err == nil && raw == nil {
		err = errors.New("the text is no longer there")
	}
	if err != nil {
		return err
	}
	_, err = env.Product.Write(raw)
	return err
}
