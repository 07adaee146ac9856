package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/disk"
	"thinpool/fixtures"
	"thinpool/lvm"
	"thinpool/test/shared"
)

// layoutDisks returns the paths of disks on which a kernel wrote volumes of every layout, and the
// SHA-256 of each volume. They are created once and cached.
func layoutDisks(t *testing.T) ([]string, map[string]string) {
	t.Helper()
	layouts := shared.Path(t, "design", "lvm2_guest_layouts.sh")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	dir := filepath.Join(cache, "thinpool-accept", fmt.Sprintf("layouts-%x", sha256.Sum256(must(os.ReadFile(layouts))))[:24])
	makingLayouts.Lock()
	defer makingLayouts.Unlock()
	if _, err := os.Stat(filepath.Join(dir, "out", "sums")); err != nil {
		makeLayouts(t, layouts, dir)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(must(os.ReadFile(filepath.Join(dir, "out", "sums"))))) {
		if f := strings.Fields(line); len(f) == 2 && len(f[0]) == 2*sha256.Size {
			sums[f[1]] = f[0]
		}
	}
	paths := must(filepath.Glob(filepath.Join(dir, "?.img")))
	if len(sums) < 29 || len(paths) != 6 {
		t.Fatalf("%s: %d volumes on %d disks", dir, len(sums), len(paths))
	}
	return paths, sums
}

var makingLayouts sync.Mutex

func makeLayouts(t *testing.T, layouts, dir string) {
	t.Helper()
	needKernel(t, runInVM)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	made := must(os.MkdirTemp(filepath.Dir(dir), "making"))
	defer os.RemoveAll(made)
	args := []string{"--get", filepath.Join(made, "out")}
	for _, disk := range []string{"a", "b", "c", "d", "e", "f"} {
		path := filepath.Join(made, disk+".img")
		empty(t, path, 400<<20)
		args = append(args, "--disk", path)
	}
	if r := run(t, runInVM, append(args, layouts)...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	if err := os.Rename(made, dir); err != nil {
		t.Fatal(err)
	}
}

// scanDisks returns the only group on disks.
func scanDisks(t *testing.T, paths ...string) *lvm.Group {
	t.Helper()
	var imgs []*disk.Disk
	for _, path := range paths {
		img := must(disk.Open(path, disk.Options{}))
		t.Cleanup(func() { img.Close() })
		imgs = append(imgs, img)
	}
	set := must(lvm.Scan(t.Context(), lvm.Options{}, imgs...))
	if len(set.Groups) != 1 {
		t.Fatalf("%v: %d groups, problems %v", paths, len(set.Groups), set.Problems)
	}
	return set.Groups[0]
}

// volumeSum returns the SHA-256 of a volume.
func volumeSum(g *lvm.Group, name string, opt lvm.ReadOptions) (string, error) {
	v := g.Volume(name)
	if v == nil {
		return "", fmt.Errorf("there is no %s", name)
	}
	r, err := g.Open(v, opt)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, io.NewSectionReader(r, 0, r.Size()))
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// Volumes of every layout read as from the kernel.
func TestLVMLayouts(t *testing.T) {
	t.Parallel()
	many(t)
	paths, sums := layoutDisks(t)
	g := scanDisks(t, paths...)
	if len(g.Problems) > 0 {
		t.Errorf("problems %v", g.Problems)
	}
	thin := 0
	for name, want := range sums {
		got, err := volumeSum(g, name, lvm.ReadOptions{})
		switch {
		case g.Volume(name).Type() == "thin":
			if thin++; err == nil || !strings.Contains(err.Error(), "through its pool") {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || got != want:
			t.Errorf("%s: sum %s, want %s; %v", name, got, want, err)
		}
	}
	if thin != 4 {
		t.Errorf("%d thin volumes", thin)
	}
	// Every leg that can be selected has the same content.
	for name, legs := range map[string]int{"r1": 3, "mir": 2, "mird": 2, "r10": 2, "tp_tmeta": 2} {
		for leg := range legs {
			if got, err := volumeSum(g, name, lvm.ReadOptions{Leg: leg + 1}); err != nil || got != sums[name] {
				t.Errorf("%s, leg %d: sum %s, want %s; %v", name, leg+1, got, sums[name], err)
			}
		}
		if _, err := volumeSum(g, name, lvm.ReadOptions{Leg: legs + 1}); err == nil {
			t.Errorf("%s has a leg %d", name, legs+1)
		}
	}
}

// survives reports how many missing physical volumes a volume tolerates.
func survives(kind string) int {
	switch {
	case strings.HasPrefix(kind, "raid6"), kind == "raid1":
		return 2
	case strings.HasPrefix(kind, "raid4"), strings.HasPrefix(kind, "raid5"), kind == "raid10", kind == "mirror":
		return 1
	}
	return 0
}

// Without any one or two disks, the volumes that tolerate it read as before. Errors for the others
// name what is missing; volumes elsewhere are unaffected.
func TestLVMLayoutsDegraded(t *testing.T) {
	t.Parallel()
	many(t)
	paths, sums := layoutDisks(t)
	whole := scanDisks(t, paths...)
	check := func(t *testing.T, left []string, missing, least int) {
		g := scanDisks(t, left...)
		if len(g.Problems) != missing {
			t.Errorf("problems %v", g.Problems)
		}
		for name, want := range sums {
			kind := whole.Volume(name).Type()
			if kind == "thin" || survives(kind) < least {
				continue
			}
			got, err := volumeSum(g, name, lvm.ReadOptions{})
			_, lacks := errors.AsType[*lvm.MissingError](err)
			switch {
			case err == nil && got == want:
			case name == "tp_tmeta" && missing == 2 && lacks: // two legs only
			case survives(kind) >= missing || !lacks || !strings.Contains(err.Error(), "kv/"+name):
				t.Errorf("%s (%s): sum %s, want %s; %v", name, kind, got, want, err)
			}
		}
	}
	for i := range paths {
		left := slices.Delete(slices.Clone(paths), i, i+1)
		t.Run("without "+filepath.Base(paths[i]), func(t *testing.T) { check(t, left, 1, 0) })
		for j := range i {
			left := slices.Delete(slices.Clone(left), j, j+1)
			t.Run("without "+filepath.Base(paths[j])+" and "+filepath.Base(paths[i]), func(t *testing.T) { check(t, left, 2, 2) })
		}
	}
}

// peeked is the output of the independent reader.
type peeked struct {
	VGs []struct {
		Name, UUID string
		Seqno      uint64
		PVs        []struct {
			Name, UUID string
			Extents    uint64 `json:"pe_count"`
			Start      int64  `json:"pe_start"` // bytes
		}
		LVs []struct {
			Name, UUID, Type string
			Size             int64
			Visible          bool
		}
	} `json:"vgs"`
	PVs []struct {
		Start int64
		Label struct {
			Sector int
			UUID   string
		}
	} `json:"pvs"`
}

// peekTool returns the path of the independent reader, or skips the test.
func peekTool(t *testing.T) string {
	t.Helper()
	return shared.Path(t, "design", "lvm2_peek.py")
}

// An independent reader finds the same groups, volumes, content, texts and history.
func TestLVMPeek(t *testing.T) {
	t.Parallel()
	many(t)
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	peekTool(t)
	for _, name := range []string{"one-pv", "two-pvs"} {
		t.Run(name, func(t *testing.T) {
			paths, _ := fixtures.Disks(t, name)
			comparePeek(t, python, paths, true)
		})
	}
	t.Run("layouts", func(t *testing.T) {
		paths, _ := layoutDisks(t)
		comparePeek(t, python, paths, false) // its content is compared with what the kernel read
	})
}

func comparePeek(t *testing.T, python string, paths []string, content bool) {
	var want peeked
	r := run(t, python, append([]string{peekTool(t)}, paths...)...)
	if err := json.Unmarshal([]byte(r.out), &want); err != nil || r.code != 0 {
		t.Fatalf("%v %s", err, r.stderr)
	}
	g := scanDisks(t, paths...)
	theirs := want.VGs[0]
	var got []string
	for _, v := range g.LVs {
		got = append(got, fmt.Sprint(v.Name, v.ID, v.Type(), v.Size, v.Visible()))
	}
	var lvs []string
	for _, v := range theirs.LVs {
		lvs = append(lvs, fmt.Sprint(v.Name, v.UUID, v.Type, v.Size, v.Visible))
	}
	if diff := cmp.Diff(lvs, got); diff != "" || g.Name != theirs.Name || g.ID != theirs.UUID || g.Seqno != theirs.Seqno {
		t.Errorf("group %s %s %d (-theirs +ours):\n%s", g.Name, g.ID, g.Seqno, diff)
	}
	for i, pv := range theirs.PVs {
		if ours := g.PVs[i]; ours.Name != pv.Name || ours.ID != pv.UUID || ours.Extents != pv.Extents || int64(ours.Start)*512 != pv.Start {
			t.Errorf("%+v, want %+v", ours, pv)
		}
	}
	if text := run(t, python, append(append([]string{peekTool(t)}, paths...), "--text", g.Name)...); text.out != string(g.Text) {
		t.Error("texts differ")
	}
	peekHistory(t, python, paths)
	for _, v := range g.LVs {
		if !content || v.Type() == "thin" || v.Type() == "thin-pool" || v.Size > 16<<20 {
			continue
		}
		out := filepath.Join(t.TempDir(), "out")
		if r := run(t, python, append(append([]string{peekTool(t)}, paths...), "--lv", g.Name+"/"+v.Name, "-o", out)...); r.code != 0 {
			t.Errorf("%s: %s", v.Name, r.stderr)
			continue
		}
		p := bytes.NewBuffer(nil)
		r, err := g.Open(v, lvm.ReadOptions{})
		if err == nil {
			_, err = io.Copy(p, io.NewSectionReader(r, 0, r.Size()))
		}
		if err != nil || !bytes.Equal(p.Bytes(), must(os.ReadFile(out))) {
			t.Errorf("%s: the content differs, %v", v.Name, err)
		}
	}
}

// peekHistory compares the old texts.
func peekHistory(t *testing.T, python string, paths []string) {
	var want []struct {
		Where  string
		Offset uint64
		VG     string
		Seqno  uint64
		LVs    []string
		Live   bool
	}
	r := run(t, python, append(append([]string{peekTool(t)}, paths...), "--history")...)
	if err := json.Unmarshal([]byte(r.out), &want); err != nil {
		t.Fatal(err)
	}
	var theirs, ours []string
	for _, o := range want {
		theirs = append(theirs, fmt.Sprintln(o.Where, o.Offset, o.VG, o.Seqno, o.LVs, o.Live))
	}
	var imgs []*disk.Disk
	for _, path := range paths {
		img := must(disk.Open(path, disk.Options{}))
		defer img.Close()
		imgs = append(imgs, img)
	}
	set := must(lvm.Scan(t.Context(), lvm.Options{}, imgs...))
	for o, err := range set.History(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, v := range o.Group.LVs {
			names = append(names, v.Name)
		}
		ours = append(ours, fmt.Sprintln(o.Disk, o.Offset, o.Group.Name, o.Group.Seqno, names, o.Live))
	}
	slices.Sort(theirs)
	slices.Sort(ours)
	if diff := cmp.Diff(theirs, ours); diff != "" || len(ours) < 2 {
		t.Errorf("%d old texts (-theirs +ours):\n%s", len(ours), diff)
	}
}

// checkWritten runs in the virtual machine. It prints checksums of volumes, and how many sectors
// differ between the copies of RAID sets.
const checkWritten = `modprobe -a dm-raid dm-mirror raid0 raid1 raid10
vgchange -q -ay kv >/dev/null 2>&1
for l in $VOLUMES; do echo "$(sha256sum </dev/kv/$l | cut -d' ' -f1) $l"; done >/out/sums
for l in r1 r10; do
  lvchange --syncaction check kv/$l
  while [ "$(lvs --noheadings -o raid_sync_action kv/$l | tr -d ' ')" != idle ]; do sleep 1; done
  echo "$(lvs --noheadings -o raid_mismatch_count kv/$l | tr -d ' ') $l"
done >/out/mismatches
vgchange -q -an kv
`

// The kernel reads what we wrote to volumes, and all copies are equal.
func TestLVMKernelReadsWritten(t *testing.T) {
	t.Parallel()
	needKernel(t, runInVM)
	paths, _ := layoutDisks(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte(checkWritten), 0o600); err != nil {
		t.Fatal(err)
	}
	var imgs []*disk.Disk
	volumes := []string{"lin", "str", "str6", "mir", "mird", "r1", "r0", "r0m", "r10"}
	args := []string{"--get", filepath.Join(dir, "out"), "--env", "VOLUMES=" + strings.Join(volumes, " ")}
	for _, path := range paths {
		made := copyOf(t, path)
		img := must(disk.Open(made, disk.Options{Claim: true}))
		if err := img.OpenForWriting(); err != nil {
			t.Fatal(err)
		}
		imgs, args = append(imgs, img), append(args, "--disk", made)
	}
	g := must(lvm.Scan(t.Context(), lvm.Options{}, imgs...)).Groups[0]
	var want strings.Builder
	for _, name := range volumes {
		w := must(g.OpenWritable(g.Volume(name)))
		p := bytes.Repeat([]byte(name+" was written by us\n"), int(w.Size())/10)[:w.Size()]
		for off := 0; off < len(p); off += 100001 {
			must(w.WriteAt(p[off:min(off+100001, len(p))], int64(off)))
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%x %s\n", sha256.Sum256(p), name)
	}
	for _, img := range imgs { // they are claimed while open
		if err := img.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r := run(t, runInVM, append(args, script)...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.stderr)
	}
	if diff := cmp.Diff(want.String(), string(must(os.ReadFile(filepath.Join(dir, "out", "sums"))))); diff != "" {
		t.Errorf("(-written +read by the kernel):\n%s", diff)
	}
	if got := string(must(os.ReadFile(filepath.Join(dir, "out", "mismatches")))); got != "0 r1\n0 r10\n" {
		t.Errorf("mismatches: %q", got)
	}
}
