package cli

import "testing"

func TestPercent(t *testing.T) {
	for in, want := range map[string]Percent{"0": 0, "5": 5, "5%": 5, "0.25%": 0.25, "100%": 100, ".5": 0.5} {
		var got Percent
		if err := got.UnmarshalText([]byte(in)); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "%", "5%%", "% 5", "-1", "101", "100.5%", "nan", "inf", "0x10", "1e1", "1_0", "5 %"} {
		var got Percent
		if err := got.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is taken as %v", in, got)
		}
	}
}
