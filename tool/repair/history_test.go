package repair_test

import (
	"fmt"
	"slices"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/repair"
)

// A root pair names a state.
type rootPair struct{ mapping, details block.Nr }

func taken(r *repair.Report) rootPair { return rootPair{r.MappingRoot, r.DetailsRoot} }

func rootsOf(c fixtures.Commit) rootPair { return rootPair{c.MappingRoot, c.DetailsRoot} }

func history(t *testing.T, name string) *fixtures.History {
	t.Helper()
	h, err := fixtures.OpenHistory(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Every commit left a sound state, whatever earlier commits have left beside it.
func TestEveryCommitIsSound(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	for _, name := range fixtures.Histories() {
		h := history(t, name)
		for i, c := range h.Commits {
			if !c.Whole {
				continue
			}
			r := find(t, blocktest.NewMemFrom(h.At(i)), repair.Options{}).Report
			// If an old superblock was put back over newer commits, there is a choice to make.
			if h.Right == len(h.Commits)-1 && len(h.Also) == 0 && (taken(&r) != rootsOf(c) || !r.Lossless() || r.Chosen) {
				t.Errorf("%s, commit %d (%s): took %v, want %v; %v", name, i, c.What, taken(&r), rootsOf(c), r.Notes)
			}
		}
	}
}

// If the superblock is lost, the last commit is found, whichever commit it is. If a pool was
// loaded repeatedly, two commits may both be the last; then both are named.
func TestSuperblockLostAtEveryCommit(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	commits, found := 0, 0
	for _, name := range fixtures.Histories() {
		h := history(t, name)
		if h.Right != len(h.Commits)-1 || len(h.Also) > 0 {
			continue // there, the last commit is ambiguous
		}
		for i, c := range h.Commits {
			image := h.At(i)
			sb, err := metadata.DecodeSuperblock(0, &h.Supers[i])
			if err != nil {
				t.Fatal(err)
			}
			clear(image[:block.Size])
			size, nr := uint64(sb.DataBlockSize), sb.DataSpaceMap.NrBlocks
			r := find(t, blocktest.NewMemFrom(image), repair.Options{Overrides: metadata.Overrides{DataBlockSize: &size, NrDataBlocks: &nr}}).Report
			commits++
			named := slices.ContainsFunc(r.Alternatives, func(s *repair.State) bool { return rootPair{s.Mapping, s.Details} == rootsOf(c) })
			switch {
			case taken(&r) == rootsOf(c):
				found++
			case named:
				t.Logf("%s, commit %d (%s): took %v, named %v; %s", name, i, c.What, taken(&r), rootsOf(c), r.Reason)
			default:
				t.Errorf("%s, commit %d (%s): took %v, want %v, alternatives %s; %s", name, i, c.What, taken(&r), rootsOf(c), rootList(r.Alternatives), r.Reason)
			}
			if r.Lossless() || !r.Chosen {
				t.Errorf("%s, commit %d: without a superblock that cannot be certain", name, i)
			}
		}
	}
	if found*100 < commits*98 {
		t.Errorf("only %d of %d commits were taken", found, commits)
	}
}

// The same on all the kernel's images, where only the last state is known.
func TestSuperblockLostOnImages(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	for _, name := range fixtures.Names() {
		image, truth := open(t, name)
		var b block.Data
		copy(b[:], image)
		sb, err := metadata.DecodeSuperblock(0, &b)
		if err != nil {
			t.Fatal(err)
		}
		clear(image[:block.Size])
		size, nr := uint64(sb.DataBlockSize), sb.DataSpaceMap.NrBlocks
		found := find(t, blocktest.NewMemFrom(image), repair.Options{Overrides: metadata.Overrides{DataBlockSize: &size, NrDataBlocks: &nr}})
		if r := found.Report; taken(&r) != (rootPair{sb.MappingRoot, sb.DetailsRoot}) || r.Lossless() {
			t.Errorf("%s: took %v, want %d/%d; %s", name, taken(&r), sb.MappingRoot, sb.DetailsRoot, r.Reason)
		}
		if right, wrong := truth.compare(contentOf(t, found.Device)); right != truth.len() || wrong > 0 {
			t.Errorf("%s: %d of %d mappings, %d wrong", name, right, truth.len(), wrong)
		}
	}
}

func rootList(states []*repair.State) (all []string) {
	for _, s := range states {
		all = append(all, fmt.Sprint(s.Mapping, "/", s.Details))
	}
	return all
}

// If the superblock of an earlier commit was put back, the last commit is found, and nothing is
// called certain.
func TestSuperblockSetBack(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	for _, name := range fixtures.Histories() {
		h := history(t, name)
		right := h.Commits[h.Right]
		last := len(h.Commits) - 1
		for i := range h.Supers {
			if i == h.Right || h.Right != last && i == last {
				continue
			}
			image := slices.Clone(h.Image)
			copy(image, h.Supers[i][:])
			r := find(t, blocktest.NewMemFrom(image), repair.Options{}).Report
			if r.Lossless() {
				t.Errorf("%s, superblock of commit %d: called certain, with roots %v", name, i, taken(&r))
			}
			named := slices.ContainsFunc(r.Alternatives, func(s *repair.State) bool {
				return rootPair{s.Mapping, s.Details} == rootsOf(right)
			})
			if taken(&r) != rootsOf(right) && !named && len(h.Also) == 0 {
				t.Errorf("%s, superblock of commit %d (%s): took %v, want %v; %s", name, i, h.Commits[i].What, taken(&r), rootsOf(right), r.Reason)
			}
		}
	}
}

// The same at every commit: with the superblock of the commit before, of the one before that, and
// of the first. Of two commits that each followed a load of the pool, either can be the first, and
// both are equally sound: then the superblock is believed.
func TestSuperblockSetBackAtEveryCommit(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	tried, believed := 0, 0
	for _, name := range fixtures.Histories() {
		h := history(t, name)
		if h.Right != len(h.Commits)-1 || len(h.Also) > 0 {
			continue
		}
		for i, c := range h.Commits {
			for _, back := range []int{i - 1, i - 2, 0} {
				if back < 0 || back == i || rootsOf(h.Commits[back]) == rootsOf(c) {
					continue
				}
				tried++
				image := h.At(i)
				copy(image, h.Supers[back][:])
				r := find(t, blocktest.NewMemFrom(image), repair.Options{}).Report
				named := slices.ContainsFunc(r.Alternatives, func(s *repair.State) bool { return rootPair{s.Mapping, s.Details} == rootsOf(c) })
				switch {
				case name == "reloads" && r.Lossless() && taken(&r) == rootsOf(h.Commits[back]):
					believed++
				case r.Lossless() || taken(&r) != rootsOf(c) && !named:
					t.Errorf("%s, commit %d, superblock of %d: took %v, want %v, lossless %v; %s", name, i, back, taken(&r), rootsOf(c), r.Lossless(), r.Reason)
				}
			}
		}
	}
	if believed*100 > tried {
		t.Errorf("an old superblock was believed in %d of %d cases", believed, tried)
	}
}

// A listed state can be chosen by its number.
func TestStateByNumber(t *testing.T) {
	h := history(t, "deletes")
	dev := blocktest.NewMemFrom(h.Image)
	all, rivals, err := repair.States(t.Context(), dev, repair.Options{})
	if err != nil || rivals > 0 || len(all) < 5 {
		t.Fatalf("%d states, %d rivals: %v", len(all), rivals, err)
	}
	for i, s := range all {
		if !s.Whole {
			continue
		}
		r := find(t, dev, repair.Options{State: i + 1}).Report
		if (rootPair{s.Mapping, s.Details}) != taken(&r) || r.Chosen != (i > 0) || len(r.Devices) != len(s.Devices) {
			t.Errorf("state %d: took %v, want %d/%d; chosen %v", i+1, taken(&r), s.Mapping, s.Details, r.Chosen)
		}
		for k := range s.Devices {
			if r.Devices[k].Reused != s.Devices[k].Reused {
				t.Errorf("state %d, device %d: %d reused, listed %d", i+1, s.Devices[k].ID, r.Devices[k].Reused, s.Devices[k].Reused)
			}
		}
	}
	for _, n := range []int{-1, len(all) + 1} {
		if _, err := repair.Find(t.Context(), dev, repair.Options{State: n}); err == nil {
			t.Errorf("there is no state %d", n)
		}
	}
}

// What LVM knows decides between states, and replaces lost values of the superblock.
func TestLVM(t *testing.T) {
	h := history(t, "lvm-like")
	last := len(h.Commits) - 1
	sb, err := metadata.DecodeSuperblock(0, &h.Supers[last])
	if err != nil {
		t.Fatal(err)
	}
	lvm := &repair.LVM{
		ChunkSize: uint64(sb.DataBlockSize), DataBlocks: sb.DataSpaceMap.NrBlocks, TransactionID: sb.TransactionID,
		Volumes: map[metadata.DevID]repair.LVMThin{},
	}
	whole := find(t, blocktest.NewMemFrom(slices.Clone(h.Image)), repair.Options{})
	pool, err := metadata.Open(blocktest.NewMemFrom(slices.Clone(h.Image)), metadata.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for d, err := range pool.Devices(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lvm.Volumes[d.ID] = repair.LVMThin{Name: fmt.Sprint("vg/lv", d.ID), TransactionID: d.TransactionID}
	}
	clear(h.Image[:block.Size])
	r := find(t, blocktest.NewMemFrom(h.Image), repair.Options{LVM: lvm}).Report
	if r.Header != whole.Report.Header || taken(&r) != rootsOf(h.Commits[last]) || len(r.LostVolumes) > 0 {
		t.Errorf("header %+v, want %+v; took %v; missing %v", r.Header, whole.Report.Header, taken(&r), r.LostVolumes)
	}
	lvm.Volumes[77] = repair.LVMThin{Name: "vg/gone", TransactionID: 1}
	copy(h.Image, h.Supers[last][:])
	r = find(t, blocktest.NewMemFrom(h.Image), repair.Options{LVM: lvm}).Report
	if !slices.Equal(r.LostVolumes, []metadata.DevID{77}) || r.Lossless() {
		t.Errorf("a volume without a device: missing %v, lossless %v", r.LostVolumes, r.Lossless())
	}
}
