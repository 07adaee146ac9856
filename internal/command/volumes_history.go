package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/lvmreport"
	"thinpool/internal/printable"
)

// printHistory lists the texts that are still on the disks, or prints one of them.
func (t *ThinVolumes) printHistory(env *cli.Env, p *place) error {
	sayProblems(env, p.set.Problems)
	env.Progress("looking for texts", 0, 0)
	texts, err := lvmreport.History(env, p.set, func(err error) { fmt.Fprintf(env.Stderr, "note: %s\n", printable.Text(err.Error())) })
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
		return t.historyJSON(env, texts)
	}
	g := &grid{
		columns: []string{"VG", "SEQNO", "", "TIME (UTC)", "HOST", "LVS", "WHERE", "DESCRIPTION"},
		left:    []string{"VG", "", "TIME (UTC)", "HOST", "WHERE", "DESCRIPTION"},
	}
	for _, x := range texts {
		live := ""
		if x.Live() {
			live = "live"
		}
		g.add(x.Name, numberOf(&x), live, utc(x.CreationTime), x.CreationHost, strconv.Itoa(len(x.Volumes)), where(&x), x.Description)
	}
	var out strings.Builder
	g.write(&out)
	_, err = env.Stdout.Write([]byte(out.String()))
	return err
}

// numberOf is what --seqno takes for a text.
func numberOf(x *lvmreport.Text) string {
	if x.Variant > 0 {
		return fmt.Sprintf("%d.%d", x.Seqno, x.Variant)
	}
	return digits(x.Seqno)
}

// where names the disks with a text: the first, and how many more.
func where(x *lvmreport.Text) string {
	var disks []string
	for _, p := range x.Places {
		if name := p.Disk.String(); !slices.Contains(disks, name) {
			disks = append(disks, name)
		}
	}
	if more := len(disks) - 1; more > 0 {
		return fmt.Sprintf("%s and %d more", disks[0], more)
	}
	return disks[0]
}

// printOld prints the text that --seqno names.
func (t *ThinVolumes) printOld(env *cli.Env, p *place, texts []lvmreport.Text) error {
	var found, similar []string
	var text *lvmreport.Text
	for i := range texts {
		x := &texts[i]
		if x.Seqno != t.Seqno.seqno {
			continue
		}
		similar = append(similar, fmt.Sprintf("%s (%s, %s UTC)", numberOf(x), x.Name, utc(x.CreationTime)))
		if t.Seqno.variant == 0 || t.Seqno.variant == x.Variant {
			found, text = append(found, x.ID), x
		}
	}
	switch {
	case len(found) == 0 && len(similar) > 0:
		return fmt.Errorf("--seqno: there is no such text; of this number there are %s", list(similar))
	case len(found) == 0:
		return fmt.Errorf("--seqno: no text with the number %d is left; --history lists those that are", t.Seqno.seqno)
	case len(found) > 1:
		return fmt.Errorf("--seqno: there are several texts with the number %d: %s; choose with N.K, and the group with --vg", t.Seqno.seqno, list(similar))
	}
	raw, err := text.Read(env, p.set)
	if err == nil && raw == nil {
		err = errors.New("the text is no longer there")
	}
	if err != nil {
		return err
	}
	_, err = env.Product.Write(raw)
	return err
}

// textRecord is a text in JSON.
type textRecord struct {
	Type         string        `json:"type"` // "text"
	VG           string        `json:"vg"`
	VGID         string        `json:"vg_id"`
	Seqno        uint64        `json:"seqno"`
	Variant      int           `json:"variant,omitempty"`
	Live         bool          `json:"live"`
	Description  string        `json:"description"`
	CreationHost string        `json:"creation_host"`
	CreationTime int64         `json:"creation_time"`
	Volumes      []string      `json:"volumes"`
	Places       []placeRecord `json:"places"`
}

// placeRecord is where a text lies.
type placeRecord struct {
	imageRecord
	Area   int    `json:"area"`
	Offset uint64 `json:"offset"`
	Live   bool   `json:"live"`
}

func (t *ThinVolumes) historyJSON(env *cli.Env, texts []lvmreport.Text) error {
	enc := newEncoder(env.Stdout)
	for _, x := range texts {
		rec := textRecord{
			Type: "text", VG: x.Name, VGID: x.ID, Seqno: x.Seqno, Variant: x.Variant, Live: x.Live(),
			Description: x.Description, CreationHost: x.CreationHost, CreationTime: x.CreationTime, Volumes: some(x.Volumes),
		}
		for _, p := range x.Places {
			rec.Places = append(rec.Places, placeRecord{imageOf(p.Disk), p.Area, p.Offset, p.Live})
		}
		if err := enc.Encode(rec); err != nil {
			return err
		}
	}
	return enc.Encode(textsEndRecord{"summary", len(texts)})
}

// textsEndRecord is the last line: how many texts there are.
type textsEndRecord struct {
	Type  string `json:"type"` // "summary"
	Texts int    `json:"texts"`
}
