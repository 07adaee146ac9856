package textpipe

import (
	"math"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendUint(t *testing.T) {
	check := func(n uint64) {
		t.Helper()
		if got, want := string(AppendUint([]byte("n="), n)), "n="+strconv.FormatUint(n, 10); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for n := uint64(1); ; n *= 10 { // all lengths, and the numbers about where they change
		check(n - 1)
		check(n)
		check(n + 1)
		if n > math.MaxUint64/10 {
			break
		}
	}
	check(math.MaxUint64)
	for n := range uint64(10_000) {
		check(n)
	}
	rapid.Check(t, func(t *rapid.T) { check(rapid.Uint64().Draw(t, "n")) })
}

func BenchmarkAppendUint(b *testing.B) {
	b.ReportAllocs()
	var text []byte
	for n := uint64(1); b.Loop(); n = n * 7 % 47_999_999 {
		text = AppendUint(text[:0], n)
	}
}
