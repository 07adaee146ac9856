package textenc

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// same compares with strconv. It appends to other text, in a buffer with garbage beyond its length.
func same(t *testing.T, v uint64) {
	t.Helper()
	dst := append(make([]byte, 0, 64), "xyxyxyxyxyxyxyxyxyxy"...)[:2]
	if got, want := string(AppendUint(dst, v)), "xy"+strconv.FormatUint(v, 10); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAppendUint(t *testing.T) {
	for power, v := 0, uint64(1); power < 20; power, v = power+1, v*10 {
		for _, near := range []uint64{v - 1, v, v + 1, 2 * v} {
			same(t, near)
		}
	}
	same(t, 1<<64-1)
	for i := range uint64(3 * half) {
		same(t, i)
	}
	for range 100_000 {
		same(t, rand.Uint64()>>rand.IntN(64))
	}
	if got := string(AppendUint(nil, 7)); got != "7" {
		t.Error(got)
	}
}

func BenchmarkAppendUint(b *testing.B) {
	numbers := make([]uint64, 1024)
	for i := range numbers {
		numbers[i] = rand.Uint64N(50_000_000)
	}
	for name, f := range map[string]func([]byte, uint64) []byte{
		"decimal": AppendUint,
		"strconv": func(dst []byte, v uint64) []byte { return strconv.AppendUint(dst, v, 10) },
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 0, 1<<14)
			for b.Loop() {
				buf = buf[:0]
				for _, v := range numbers {
					buf = f(buf, v)
				}
			}
		})
	}
}
