package view

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"thinpool/internal/lvmreport"
)

// HistoryText lists versions of the LVM metadata for people.
func HistoryText(w io.Writer, texts []lvmreport.Text) error {
	g := newGrid("",
		[]string{"VG", "SEQNO", "", "TIME (UTC)", "HOST", "LVS", "WHERE", "DESCRIPTION"},
		[]string{"VG", "", "TIME (UTC)", "HOST", "WHERE", "DESCRIPTION"})
	for _, x := range texts {
		live := ""
		if x.Live() {
			live = "live"
		}
		g.add(x.Name, TextNumber(&x), live, UTC(x.CreationTime), x.CreationHost, strconv.Itoa(len(x.Volumes)), where(&x), x.Description)
	}
	return g.writeTo(w)
}

// TextNumber returns what --seqno takes to select x.
func TextNumber(x *lvmreport.Text) string {
	if x.Variant > 0 {
		return fmt.Sprintf("%d.%d", x.Seqno, x.Variant)
	}
	return digits(x.Seqno)
}

// where names the first disk with a copy of the text and counts the others.
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

// textRecord is a version of the LVM metadata in JSON.
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

// placeRecord is the location of a text.
type placeRecord struct {
	imageRecord
	Area   int    `json:"area"`
	Offset uint64 `json:"offset"`
	Live   bool   `json:"live"`
}

// HistoryJSON lists versions of the LVM metadata for programs.
func HistoryJSON(w io.Writer, texts []lvmreport.Text) error {
	enc := NewEncoder(w)
	for _, x := range texts {
		rec := textRecord{
			Type: "text", VG: x.Name, VGID: x.ID, Seqno: x.Seqno, Variant: x.Variant, Live: x.Live(),
			Description: x.Description, CreationHost: x.CreationHost, CreationTime: x.CreationTime, Volumes: some(x.Volumes),
		}
		for _, p := range x.Places {
			rec.Places = append(rec.Places, placeRecord{imageOf(p.Disk, x.Name), p.Area, p.Offset, p.Live})
		}
		if err := enc.Encode(rec); err != nil {
			return err
		}
	}
	return enc.Encode(textsEndRecord{"summary", len(texts)})
}

// textsEndRecord is the last line: the number of texts.
type textsEndRecord struct {
	Type  string `json:"type"` // "summary"
	Texts int    `json:"texts"`
}
