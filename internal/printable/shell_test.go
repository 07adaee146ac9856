package printable

import "testing"

func TestShell(t *testing.T) {
	for name, want := range map[string]string{
		"vg-pool-tpool": "vg-pool-tpool", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "": "''", `a\x20b`: `'a\x20b'`, "x;y": "'x;y'",
	} {
		if got := Shell(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}
