package view

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlainSize(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0b", 512: "512b", 1023: "1023b", 1024: "1KiB", 1536: "1536b", 4 << 20: "4MiB", 100 << 20: "100MiB", 1 << 40: "1TiB", 2394 << 20: "2394MiB",
		1<<40 - 4<<20: "1024GiB", 244 << 16: "15MiB", 1 << 63: "8192PiB",
	} {
		if got := PlainSize(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}

// Cells such as host names and descriptions may hold any bytes, of any length.
func TestGrid(t *testing.T) {
	g := newGrid("Title", []string{"A", "N", "NONE", "LAST"}, []string{"A", "LAST"})
	g.add("\x1b[2J", "7", "", strings.Repeat("x", 1000))
	g.add(strings.Repeat("é", 1000), "100", "", "")
	var out strings.Builder
	g.write(&out)
	wide := strings.Repeat("é", widest/2)
	want := fmt.Sprintf("Title\n  %-*s    N  LAST\n  %-*s    7  %s\n  %s...  100\n",
		widest/2+3, "A", widest/2+3, `\u001b[2J`, strings.Repeat("x", 1000), wide)
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
