package cli

import "testing"

func TestDidYouMean(t *testing.T) {
	options := []string{"auto-repair", "apply-undo", "metadata-snap", "skip-mappings", "quiet"}
	for word, want := range map[string]string{
		"auto-repiar":       ": did you mean auto-repair?",
		"autorepair":        ": did you mean auto-repair?",
		"repair":            ": did you mean auto-repair?",
		"repiar":            ": did you mean auto-repair?",
		"snap":              ": did you mean metadata-snap?",
		"AUTO-REPAIR":       ": did you mean auto-repair?",
		"quite":             ": did you mean quiet?",
		"x":                 "",
		"":                  "",
		"nothing-like-that": "",
	} {
		if got := DidYouMean(word, options); got != want {
			t.Errorf("%q%s, want %q", word, got, want)
		}
	}
	if got, want := DidYouMean("dats", []string{"data", "date", "other"}), ": did you mean data or date?"; got != want {
		t.Errorf("two: %q, want %q", got, want)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
