package arch

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/metadata/block"
)

// A third-party module builds with the public packages alone and works.
func TestOutsideModule(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go command")
	}
	dir := t.TempDir()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) []byte {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	program := read("testdata/outside/main.go")
	path := modulePath(t, read(filepath.Join(abs, "go.mod")))
	write("main.go", program)
	write("go.sum", read(filepath.Join(abs, "go.sum")))
	write("go.mod", fmt.Appendf(nil, "module outside\n\ngo 1.26\n\nrequire %s v0.0.0\n\nreplace %s => %s\n", path, path, abs))
	build := exec.Command("go", "build", "-mod=mod", "-o", "outside", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); bytes.Contains(out, []byte("module lookup disabled")) {
		t.Skipf("modules are missing: %s", out)
	} else if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	damaged := fixtures.Mem(t, "odd-blocks")
	if err := block.Write(damaged, 81, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	pool := write("pool", damaged.Contents())
	fresh := write("fresh", make([]byte, damaged.Size()))
	run := exec.Command(filepath.Join(dir, "outside"), pool, fresh)
	run.Stderr = os.Stderr
	out, err := run.Output()
	text := string(out)
	for _, want := range []string{"fault: fatal node-damaged\n", "device 2: 4634 mappings read, 0 confirmed, 0 guessed, 251 lost\n", `<device dev_id="2" mapped_blocks="4634"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%v: no %q in %.1000s", err, want, text)
		}
	}
}

func modulePath(t *testing.T, mod []byte) string {
	t.Helper()
	first, _, _ := strings.Cut(string(mod), "\n")
	path, ok := strings.CutPrefix(first, "module ")
	if !ok {
		t.Fatalf("go.mod begins with %q", first)
	}
	return path
}
