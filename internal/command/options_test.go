package command

import "testing"

func TestDeviceID(t *testing.T) {
	for in, want := range map[string]deviceID{"7": {id: 7}, "+08": {id: 8}, "vg/data": {name: "vg/data"}, "/dev/vg/data": {name: "/dev/vg/data"}} {
		var got deviceID
		if err := got.UnmarshalText([]byte(in)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "data", "0x10", "-1", "18446744073709551616"} {
		var got deviceID
		if err := got.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q is taken as %+v", in, got)
		}
	}
}
