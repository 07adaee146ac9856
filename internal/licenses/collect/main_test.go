package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../../.."

// The licences the tools print match the output of "make licenses".
func TestLicensesAreCurrent(t *testing.T) {
	want, err := collect(t.Context(), root)
	if errors.Is(err, errAbsent) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, file))
	if err != nil || string(got) != want {
		t.Errorf("%s is out of date (%v): run make licenses", file, err)
	}
	for _, words := range []string{"\nthinpool\n", "\nGo, its run time", "Apache License", "alecthomas/kong v", "golang.org/x/sys v", "The Go Authors"} {
		if !strings.Contains(want, words) {
			t.Errorf("%q is not there", words)
		}
	}
	if strings.Contains(want, "pgregory.net/rapid") {
		t.Error("the licence of what only tests use is there")
	}
}

func TestLicenseFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := licenseFiles(dir); err == nil || errors.Is(err, errAbsent) {
		t.Errorf("a folder without a licence: %v", err)
	}
	if _, err := licenseFiles(filepath.Join(dir, "none")); !errors.Is(err, errAbsent) {
		t.Errorf("an absent folder: %v", err)
	}
	for _, name := range []string{"License.md", "NOTICE", "main.go"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := licenseFiles(dir); err != nil || len(found) != 2 {
		t.Errorf("found %q, %v", found, err)
	}
}
