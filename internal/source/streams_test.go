package source

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"thinpool/internal/cli"
)

const text = "<superblock uuid=\"\" time=\"1\">\n</superblock>\n"

func compressed(t *testing.T, how, s string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if how == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	_, err := io.WriteString(w, s)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func read(t *testing.T, env *cli.Env, path string) (string, error) {
	t.Helper()
	in, err := OpenText(env, path)
	if err != nil {
		return "", err
	}
	defer in.Close()
	all, err := io.ReadAll(in)
	return string(all), err
}

func TestOpenText(t *testing.T) {
	gz, zst := compressed(t, "gzip", text), compressed(t, "zstd", text)
	for name, tc := range map[string]struct{ content, want string }{
		"plain":               {text, text},
		"empty":               {"", ""},
		"short":               {"<", "<"},
		"gzip":                {gz, text},
		"two gzip":            {gz + gz, text + text},
		"zstd":                {zst, text},
		"two zstd":            {zst + zst, text + text},
		"zstd, skippable one": {"\x50\x2a\x4d\x18\x02\x00\x00\x00ab" + zst, text},
	} {
		t.Run(name, func(t *testing.T) {
			env := &cli.Env{Context: t.Context(), Stdin: strings.NewReader(tc.content)}
			for _, path := range []string{"-", file(t, []byte(tc.content))} {
				if got, err := read(t, env, path); err != nil || got != tc.want {
					t.Errorf("%s: %q, %v, want %q", path, got, err, tc.want)
				}
			}
		})
	}
}

func TestOpenTextPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat(text, 10000)
	go func() {
		defer w.Close()
		_, _ = io.WriteString(w, compressed(t, "zstd", long))
	}()
	if got, err := read(t, &cli.Env{Context: t.Context(), Stdin: r}, "-"); err != nil || got != long {
		t.Errorf("%d bytes, %v, want %d", len(got), err, len(long))
	}
}

func TestOpenTextRefuses(t *testing.T) {
	dir := t.TempDir()
	for want, content := range map[string]string{
		"this is metadata, not a dump: use thin_dump": string(superblock()),
		"this is packed metadata, not a dump":         "\x77\xef\x09\x63\xaa\xa0\x37\xa5",
		"this is compressed with xz":                  "\xfd7zXZ\x00",
		"unexpected EOF":                              compressed(t, "gzip", text)[:20],
		"magic number mismatch":                       compressed(t, "zstd", text) + "rest",
		"gzip: invalid header":                        "\x1f\x8b\x09\x00\x00\x00\x00\x00\x00\x00",
	} {
		_, err := read(t, &cli.Env{Context: t.Context()}, file(t, []byte(content)))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := read(t, &cli.Env{Context: t.Context()}, dir); err == nil || err.Error() != dir+": is a directory" {
		t.Errorf("a directory: %v", err)
	}
	if _, err := read(t, &cli.Env{Context: t.Context()}, dir+"/missing"); !os.IsNotExist(err) {
		t.Errorf("a missing file: %v", err)
	}
}

// entries lists the files in dir.
func entries(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestOutput(t *testing.T) {
	for name, tc := range map[string]struct{ path, how, magic string }{
		"plain":         {"out.xml", "", text},
		"gzip by name":  {"out.gz", "", "\x1f\x8b"},
		"zstd by name":  {"out.zst", "", "\x28\xb5\x2f\xfd"},
		"gzip by order": {"out.xml", "gzip", "\x1f\x8b"},
		"zstd by order": {"out.gz", "zstd", "\x28\xb5\x2f\xfd"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tc.path)
			env := &cli.Env{Context: t.Context()}
			out, err := CreateOutput(env, path, tc.how)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Discard()
			if _, err := io.WriteString(out, text); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("the file is there before Commit: %v", err)
			}
			if err := out.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if p, _ := os.ReadFile(path); !strings.HasPrefix(string(p), tc.magic) {
				t.Errorf("the file begins with %.20q, want %q", p, tc.magic)
			}
			if got, err := read(t, env, path); err != nil || got != text {
				t.Errorf("read %q, %v", got, err)
			}
			if got := entries(t, dir); got != tc.path {
				t.Errorf("files %s, want %s alone", got, tc.path)
			}
		})
	}
}

// After any failure, an old file is unchanged and no new one is left.
func TestOutputDiscard(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	for name, end := range map[string]func(*Output){
		"discarded":   func(o *Output) { o.Discard() },
		"interrupted": func(o *Output) { cancel(); _ = o.Commit(ctx); o.Discard() },
	} {
		path := file(t, []byte("old"))
		out, err := CreateOutput(&cli.Env{Context: ctx}, path, "zstd")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(out, text)
		end(out)
		if p, _ := os.ReadFile(path); string(p) != "old" {
			t.Errorf("%s: the file is %q", name, p)
		}
		if got := entries(t, filepath.Dir(path)); got != "file" {
			t.Errorf("%s: files %s", name, got)
		}
		if name == "interrupted" {
			ctx, cancel = context.WithCancel(t.Context())
		}
	}
	cancel()
}

func TestOutputPlaces(t *testing.T) {
	path := file(t, []byte("old"))
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	env := &cli.Env{Context: t.Context(), Product: &stdout}
	for _, to := range []string{"", "-", "/dev/null", link} {
		out, err := CreateOutput(env, to, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, "new"); err != nil {
			t.Fatal(err)
		}
		if err := out.Commit(t.Context()); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		out.Discard()
	}
	if stdout.String() != "newnew" {
		t.Errorf("stdout has %q", stdout.String())
	}
	info, err := os.Stat(path)
	if p, _ := os.ReadFile(path); err != nil || string(p) != "new" || info.Mode() != 0o600 {
		t.Errorf("behind the link: %q, %v, %v", p, info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link: %v, %v", info, err)
	}
	if _, err := CreateOutput(env, t.TempDir(), ""); err == nil {
		t.Error("a directory is taken")
	}
	if _, err := CreateOutput(env, "/nowhere/file", ""); !os.IsNotExist(err) {
		t.Errorf("a missing directory: %v", err)
	}
}
