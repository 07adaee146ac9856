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

// A Text is a state of a group that metadata areas still hold.
type Text struct {
	Name, ID     string // of the group
	Seqno        uint64
	Variant      int // counted from 1, if there are different texts with the number; else 0
	CreationTime int64
	CreationHost string
	Description  string
	Volumes      []string // the names of all logical volumes
	Places       []Place  // where it was found
	sum          [sha256.Size]byte
}

// A Place is where a text lies.
type Place struct {
	Disk   *lvm.Disk
	Area   int    // index in Disk.Metadata
	Offset uint64 // of the text in the area
	Live   bool   // it is the committed text of the area
}

// Live reports whether it is the committed text of a metadata area.
func (t *Text) Live() bool {
	return slices.ContainsFunc(t.Places, func(p Place) bool { return p.Live })
}

// History returns the texts in the metadata areas of set, by the ids of groups, which keep theirs
// when they are renamed, and the newest first. What is found in several places is one text. Areas that cannot be searched to their ends are reported
// and passed over; the error is that of ctx.
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
	// The texts of one number are in the order in which they were found, the first disk first.
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

// textOf keeps what is needed of a group: its strings are parts of the whole text, which is not.
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

// Read reads the text itself, which [History] has found in set; nil if it is no longer there.
func (t *Text) Read(ctx context.Context, set *lvm.Set) ([]byte, error) {
	for old, err := range set.History(ctx) {
		if err == nil && sha256.Sum256(old.Group.Text) == t.sum {
			return old.Group.Text, nil
		}
	}
	return nil, ctx.Err()
}
