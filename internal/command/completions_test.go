package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const completions = "../../completions"

// The installed completion files match the output of "make completions".
func TestCompletions(t *testing.T) {
	files, err := Completions()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(completions, name))
		if err != nil || string(got) != want {
			t.Errorf("%s is out of date (%v): run make completions", name, err)
		}
	}
	n := 0
	err = filepath.WalkDir(completions, func(_ string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			n++
		}
		return err
	})
	if err != nil || n != len(files) {
		t.Errorf("%d files, want %d: run make completions (%v)", n, len(files), err)
	}
}

// Bash completes options, their values, and files.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	script := filepath.Join(completions, "bash", "thin_tools")
	complete := func(words ...string) string {
		last := words[len(words)-1]
		prev := ""
		if len(words) > 1 {
			prev = words[len(words)-2]
		}
		code := `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _thin_tools "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; echo "${COMPREPLY[*]}"`
		out, err := exec.Command(bash, append([]string{"-c", code, "bash", script}, words...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%q after %q: %v\n%s", last, prev, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"/usr/sbin/thin_check", "--auto"}, "--auto-repair"},
		{[]string{"thin_check", "--format", ""}, "text json"},
		{[]string{"thin_check", "--format", "=", "j"}, "json"},
		{[]string{"thin_check", "--format", "="}, "text json"},
		{[]string{"thin_dump", "--style", "0"}, "0.9"},
		{[]string{"thin_tools", "lvm"}, "lvm-config"},
		{[]string{"thin_tools", "thin_check", "--auto"}, "--auto-repair"},
		{[]string{"thin_tools", "dump", "--style", "0"}, "0.9"},
		{[]string{"thin_tools", "lvm-config", "--initr"}, "--initramfs"},
		{[]string{"thin_repair", "-i", "completions_t"}, "completions_test.go"},
	} {
		if got := complete(c.words...); got != c.want {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
}
