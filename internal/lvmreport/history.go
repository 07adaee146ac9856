package lvmreport

import (
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"sort"
	"strings"

	"thinpool/lvm"
)

// A Text is a version of a group's metadata that is still in a metadata area.
type Text struct {
	Name, ID     string // of the group
	Seqno        uint64
	Variant      int // counted from 1 if texts with the same seqno differ; else 0
	CreationTime int64
	CreationHost string
	Description  string
	Volumes      []string // names of all logical volumes
	Places       []Place  // where the text was found
	sum          [sha256.Size]byte
}

// A Place is the location of a text.
type Place struct {
	Disk   *lvm.Disk
	Area   int    // index in Disk.Metadata
	Offset uint64 // of the text in the area
	Live   bool   // the text is the committed one of the area
}

// Live reports whether the text is the committed one of any metadata area.
func (t *Text) Live() bool {
	return slices.ContainsFunc(t.Places, func(p Place) bool { return p.Live })
}

// History returns the texts in the metadata areas of set, ordered by group id, newest first. Ids
// survive renaming a group. A text found in several places is returned once. Areas that cannot be
// searched to the end are passed to report and skipped. The only error returned is that of ctx.
func History(ctx context.Context, set *lvm.Set, report func(error)) ([]Text, error) {
	var texts []Text
	index := map[[sha256.Size]byte]int{}
	for old, err := range set.History(ctx) {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			report(err)
			continue
		}
		sum := sha256.Sum256(old.Group.Text)
		i, ok := index[sum]
		if !ok {
			i = len(texts)
			index[sum], texts = i, append(texts, textOf(old.Group, sum))
		}
		texts[i].Places = append(texts[i].Places, Place{old.Disk, old.Area, old.Offset, old.Live})
	}
	// Texts with the same seqno stay in the order in which they were found, first disk first.
	sort.SliceStable(texts, func(i, j int) bool {
		a, b := &texts[i], &texts[j]
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(b.Seqno, a.Seqno), cmp.Compare(b.CreationTime, a.CreationTime)) < 0
	})
	for i := 1; i < len(texts); i++ {
		if a, b := &texts[i-1], &texts[i]; a.ID == b.ID && a.Seqno == b.Seqno {
			a.Variant = max(a.Variant, 1)
			b.Variant = a.Variant + 1
		}
	}
	return texts, ctx.Err()
}

// textOf copies the needed strings of a group, so that the whole text can be freed.
func textOf(g *lvm.Group, sum [sha256.Size]byte) Text {
	t := Text{
		Name: strings.Clone(g.Name), ID: strings.Clone(g.ID), Seqno: g.Seqno, CreationTime: g.CreationTime,
		CreationHost: strings.Clone(g.CreationHost), Description: strings.Clone(g.Description), sum: sum,
	}
	for _, v := range g.LVs {
		t.Volumes = append(t.Volumes, strings.Clone(v.Name))
	}
	return t
}

// Read returns the full text, which [History] found in set; nil if it is gone.
func (t *Text) Read(ctx context.Context, set *lvm.Set) ([]byte, error) {
	for old, err := range set.History(ctx) {
		if err == nil && sha256.Sum256(old.Group.Text) == t.sum {
			return old.Group.Text, nil
		}
	}
	return nil, ctx.Err()
}
