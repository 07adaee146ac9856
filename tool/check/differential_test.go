package check_test

import (
	"encoding/json"
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
	"thinpool/tool/check"
)

// verifier is an independent checker, which may lie beside the repository.
const verifier = "../../../shared/design/verify_format.py"

// On metadata that is damaged at random, an independent checker and this one
// agree whether it is fatal, and nothing that the other finds passes in silence.
// THINPOOL_DIFFERENTIAL sets how many are compared.
func TestDifferential(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	if _, err := os.Stat(verifier); err != nil {
		t.Skipf("the independent checker is not there: %v", err)
	}
	cases := 24
	if n, err := strconv.Atoi(os.Getenv("THINPOOL_DIFFERENTIAL")); err == nil {
		cases = n
	}
	images := []string{"transactions", "metadata-snap", "empty", "many-devices", "odd-blocks"}
	for seed := range cases {
		rnd := rand.New(rand.NewPCG(uint64(seed), 1))
		dev := fixtures.Mem(t, images[seed%len(images)])
		var what []string
		for range 1 + rnd.IntN(2) {
			what = append(what, mutate(t, dev, rnd))
		}
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, dev.Contents(), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command(python, verifier, path).Output()
		var theirs struct {
			Findings struct{ Counts, Fatal, Nonfatal json.RawMessage }
		}
		if err := json.Unmarshal(out, &theirs); err != nil {
			continue // it broke on the damage, which is its right
		}
		var counts struct{ Fatal, Nonfatal int }
		if err := json.Unmarshal(theirs.Findings.Counts, &counts); err != nil {
			t.Fatal(err)
		}
		faults, sum := faultsOf(t, dev, check.Options{})
		onlyDataLeaks := !strings.Contains(string(theirs.Findings.Nonfatal), "I4") || !strings.Contains(string(theirs.Findings.Nonfatal), "metadata")
		switch {
		case (counts.Fatal > 0) != (sum.Fatal > 0):
			t.Errorf("seed %d, %v: fatal for them %d, for us %d\n%s\n%v", seed, what, counts.Fatal, sum.Fatal, theirs.Findings.Fatal, texts(faults))
		case counts.Fatal == 0 && counts.Nonfatal > 0 && sum.NonFatal == 0 && (sum.Notes == 0 || !onlyDataLeaks):
			t.Errorf("seed %d, %v: they find\n%s\nand we %v", seed, what, theirs.Findings.Nonfatal, texts(faults))
		}
	}
}

// mutate changes one thing in the metadata, most of the time with the checksum
// repaired, and says what.
func mutate(t *testing.T, dev *block.Mem, rnd *rand.Rand) string {
	var used []block.Nr
	var b block.Data
	for nr := range block.Blocks(dev) {
		if err := block.Read(dev, nr, &b); err != nil {
			t.Fatal(err)
		}
		if block.KindOf(&b) != block.UnknownKind {
			used = append(used, nr)
		}
	}
	nr := used[rnd.IntN(len(used))]
	if err := block.Read(dev, nr, &b); err != nil {
		t.Fatal(err)
	}
	kind := block.KindOf(&b)
	what := "byte"
	switch rnd.IntN(6) {
	case 0:
		what = "zeroed"
		b, kind = block.Data{}, block.UnknownKind
	case 1:
		what, kind = "bit flipped", block.UnknownKind
		b[rnd.IntN(block.Size)] ^= 1 << rnd.IntN(8)
	case 2:
		other := used[rnd.IntN(len(used))]
		what, kind = "replaced by block "+strconv.Itoa(int(other)), block.UnknownKind
		if err := block.Read(dev, other, &b); err != nil {
			t.Fatal(err)
		}
	case 3: // a small field of the header
		at := 4 * rnd.IntN(8)
		what = "header at " + strconv.Itoa(at)
		b[at] = byte(rnd.IntN(256))
	case 4: // an early key or value
		at := slices.Max([]int{32, 8 * rnd.IntN(400)})
		what = "word at " + strconv.Itoa(at)
		le.PutUint64(b[at:], le.Uint64(b[at:])+uint64(rnd.IntN(3))-1)
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
	return "block " + strconv.Itoa(int(nr)) + " " + what
}
