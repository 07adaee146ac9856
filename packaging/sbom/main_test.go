package main

import (
	"os"
	"strings"
	"testing"
)

// Every module linked into the tools has a licence here. A module without one is an error.
func TestLicenses(t *testing.T) {
	text, err := os.ReadFile("../../internal/licenses/THIRD_PARTY_LICENSES")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		name, version, ok := strings.Cut(strings.TrimSpace(line), " v")
		if !ok || strings.Contains(name, " ") || !strings.Contains(name, "/") || !strings.Contains(version, ".") {
			continue
		}
		n++
		if err := new(component).license(name); err != nil {
			t.Error(err)
		}
	}
	if n < len(licenses)-2 {
		t.Errorf("only %d modules", n)
	}
	if err := new(component).license("example.org/unknown"); err == nil {
		t.Error("an unknown module has a licence")
	}
}
