package check_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/test/shared"
	"thinpool/tool/check"
)

// A verdict is the output of the independent checker.
type verdict struct {
	Findings struct {
		Counts   struct{ Fatal, Nonfatal int }
		Fatal    []string
		Nonfatal []string
	}
}

// On randomly damaged metadata, an independent checker and this one agree on what is fatal, and
// this one misses nothing that the other finds. THINPOOL_DIFFERENTIAL sets which seeds to compare,
// as FIRST-END.
func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	verifier := shared.Path(t, "design", "verify_format.py")
	first, end := 0, 24
	if r := os.Getenv("THINPOOL_DIFFERENTIAL"); r != "" {
		if _, err := fmt.Sscanf(r, "%d-%d", &first, &end); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"transactions", "metadata-snap", "empty", "many-devices", "odd-blocks"}
	images := map[string][]byte{}
	path, compared := filepath.Join(t.TempDir(), "image"), 0
	for seed := first; seed < end; seed++ {
		rnd := rand.New(rand.NewPCG(uint64(seed), 1))
		name := names[seed%len(names)]
		if images[name] == nil {
			if images[name], err = fixtures.Image(name); err != nil {
				t.Fatal(err)
			}
		}
		dev := blocktest.NewMemFrom(slices.Clone(images[name]))
		var what []string
		for range 1 + rnd.IntN(2) {
			what = append(what, mutate(t, dev, rnd))
		}
		content := dev.Contents()
		if rnd.IntN(20) == 0 { // most of the device is free space
			content = content[:rnd.IntN(len(content))]
			what = append(what, fmt.Sprintf("cut to %d bytes", len(content)))
		}
		theirs, ok := verify(t, python, verifier, path, content)
		if !ok {
			continue
		}
		compared++
		if wrong := disagreement(t, theirs, blocktest.NewMemFrom(content)); wrong != "" {
			t.Errorf("seed %d, %s, %q: %s", seed, name, what, wrong)
		}
	}
	if compared < (end-first)/2 {
		t.Errorf("only %d of %d images were compared", compared, end-first)
	}
}

// verify runs the independent checker; false if it crashed on the damage, which is allowed.
func verify(t *testing.T, python, verifier, path string, content []byte) (theirs verdict, ok bool) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, verifier, "--limit", "20", path).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() == 2 || exit.ExitCode() > 3) {
		return theirs, false
	}
	return theirs, json.Unmarshal(out, &theirs) == nil
}

// disagreement says where our verdict on dev differs from theirs; "" if it does not.
func disagreement(t *testing.T, theirs verdict, dev block.Device) string {
	var faults []check.Fault
	sum, err := check.Run(context.Background(), readOnly{dev}, check.Options{Parallel: 1}, func(f check.Fault) { faults = append(faults, f) })
	if err != nil {
		return err.Error()
	}
	counts := theirs.Findings.Counts
	// They call leaks of data blocks non-fatal; for us they are notes.
	leaks := sum.DataLeaks > 0 && !slices.ContainsFunc(theirs.Findings.Nonfatal, func(s string) bool { return !dataLeak(s) })
	switch {
	case (counts.Fatal > 0) != (sum.Fatal > 0):
		return fmt.Sprintf("fatal for them %d, for us %d\n%q\n%q", counts.Fatal, sum.Fatal, theirs.Findings.Fatal, texts(faults))
	case counts.Fatal == 0 && counts.Nonfatal > 0 && sum.NonFatal == 0 && !leaks:
		return fmt.Sprintf("they find\n%q\nand we %q", theirs.Findings.Nonfatal, texts(faults))
	case counts.Fatal == 0 && counts.Nonfatal == 0 && sum.NonFatal > 0:
		return fmt.Sprintf("they find nothing, and we %q", texts(faults))
	}
	return ""
}

// mutate changes one thing in the metadata, usually with the checksum updated, and says what.
func mutate(t *testing.T, dev *blocktest.Mem, rnd *rand.Rand) string {
	var used []block.Nr
	var b, other block.Data
	for nr := range block.Blocks(dev) {
		if err := block.Read(dev, nr, &b); err != nil {
			t.Fatal(err)
		}
		if block.KindOf(&b) != block.UnknownKind {
			used = append(used, nr)
		}
	}
	pick := func(into *block.Data) block.Nr {
		nr := used[rnd.IntN(len(used))]
		if err := block.Read(dev, nr, into); err != nil {
			t.Fatal(err)
		}
		return nr
	}
	nr := pick(&b)
	kind := block.KindOf(&b)
	what := ""
	switch rnd.IntN(8) {
	case 0:
		what, b, kind = "zeroed", block.Data{}, block.UnknownKind
	case 1:
		what, kind = "bit flipped", block.UnknownKind
		b[rnd.IntN(block.Size)] ^= 1 << rnd.IntN(8)
	case 2: // a block in the wrong place
		what, kind = "replaced by block "+strconv.Itoa(int(pick(&b))), block.UnknownKind
	case 3: // and one that claims to belong there
		what = "replaced for good by block " + strconv.Itoa(int(pick(&other)))
		b, kind = other, block.KindOf(&other)
		le.PutUint64(b[nodeBlocknr:], uint64(nr))
	case 4: // a small header field
		at := 4 * rnd.IntN(8)
		what = "header at " + strconv.Itoa(at)
		b[at] = byte(rnd.IntN(256))
	case 5: // an early key or value, or a field of a superblock
		at := max(32, 8*rnd.IntN(400))
		what = "word at " + strconv.Itoa(at)
		le.PutUint64(b[at:], le.Uint64(b[at:])+uint64(rnd.IntN(3))-1)
	case 6: // swap two values
		at, with := mappingValues+8*rnd.IntN(100), mappingValues+8*rnd.IntN(100)
		what = fmt.Sprintf("words at %d and %d swapped", at, with)
		v, w := le.Uint64(b[at:]), le.Uint64(b[with:])
		le.PutUint64(b[at:], w)
		le.PutUint64(b[with:], v)
	default:
		at := rnd.IntN(block.Size)
		what = "byte at " + strconv.Itoa(at)
		b[at] ^= byte(1 + rnd.IntN(255))
	}
	if kind != block.UnknownKind {
		block.Reseal(&b, kind)
	}
	if err := block.Write(dev, nr, &b); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("block %d %s", nr, what)
}

func dataLeak(finding string) bool {
	return strings.HasPrefix(finding, "I41: ") && strings.HasSuffix(finding, "count 1, expected 0 (leak)")
}
