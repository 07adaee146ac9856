package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"thinpool/metadata"
)

// What all clients together rely on.

// Dumps and differences have one element per line, two spaces of indentation per level, and decimal
// attributes in a fixed order. There is no XML declaration and no comment.
func TestContract_xml(t *testing.T) {
	t.Parallel()
	number := func(names ...string) string {
		var s strings.Builder
		for _, name := range names {
			s.WriteString(" " + name + `="\d+"`)
		}
		return s.String()
	}
	dump := regexp.MustCompile(`^(?s:` + strings.Join([]string{
		`<superblock uuid=""` + number("time", "transaction") + `( flags="\d+")?` + number("version", "data_block_size", "nr_data_blocks") + `>`,
		`  <def` + number("name") + `>`, `  </def>`,
		`  <device` + number("dev_id", "mapped_blocks", "transaction", "creation_time", "snap_time") + `>`, `  </device>`,
		`    <ref` + number("name") + `/>`,
		`    <single_mapping` + number("origin_block", "data_block", "time") + `/>`,
		`    <range_mapping` + number("origin_begin", "data_begin", "length", "time") + `/>`,
		`</superblock>`,
	}, "|") + `)\n?$`)
	delta := regexp.MustCompile(`^(?s:` + strings.Join([]string{
		`<superblock uuid=""` + number("time", "transaction", "data_block_size", "nr_data_blocks") + `>`,
		`  <diff` + number("left", "right") + `>`, `  </diff>`,
		`    <(same|different|left_only|right_only)` + number("begin", "length") + `/>`,
		`</superblock>`,
	}, "|") + `)\n$`)
	for _, path := range []string{heldPool(t), fixture(t, "layers"), fixture(t, "needs-check"), fixture(t, "empty")} {
		for _, args := range [][]string{{}, {"--style", "0.9"}, {"--style", "1.x"}, {"--skip-mappings"}} {
			for line := range strings.Lines(asked(t, "thin_dump", append(args, path)...)) {
				if !dump.MatchString(line) {
					t.Fatalf("thin_dump %q: line %q", args, line)
				}
			}
		}
		if strings.HasPrefix(filepath.Base(path), "empty") {
			continue
		}
		for line := range strings.Lines(asked(t, "thin_delta", "--thin1", "1", "--thin2", "2", path)) {
			if !delta.MatchString(line) {
				t.Fatalf("thin_delta: line %q", line)
			}
		}
	}
}

// Style 1 writes flags only if needs_check is set, style 0.9 always.
func TestContract_flags(t *testing.T) {
	t.Parallel()
	sound, flagged := fixture(t, "layers"), fixture(t, "needs-check")
	for _, c := range []struct {
		path, style, want string
	}{
		{sound, "1", ""}, {sound, "0.9", ` flags="0"`}, {flagged, "1", ` flags="1"`}, {flagged, "0.9", ` flags="1"`},
	} {
		first, _, _ := strings.Cut(asked(t, "thin_dump", "--style", c.style, c.path), "\n")
		if got := regexp.MustCompile(` flags="\d+"`).FindString(first); got != c.want {
			t.Errorf("style %s: %q has flags %q, want %q", c.style, first, got, c.want)
		}
	}
	if strings.Contains(asked(t, "thin_delta", "--thin1", "1", "--thin2", "2", flagged), "flags") {
		t.Error("thin_delta prints flags")
	}
}

// A single device is always flat, and all of them on request. thin_restore accepts both.
func TestContract_flat(t *testing.T) {
	t.Parallel()
	path := fixture(t, "wide-sharing")
	whole := asked(t, "thin_dump", path)
	flat := asked(t, "thin_dump", "--style", "0.9", path)
	if !strings.Contains(whole, "<ref ") || strings.Contains(flat, "<ref ") || strings.Contains(asked(t, "thin_dump", "--dev-id", "105", path), "<ref ") {
		t.Error("def and ref are not where they belong")
	}
	for _, text := range []string{whole, flat} {
		if got := asked(t, "thin_dump", "--style", "0.9", restore(t, text, size(t, path))); got != flat {
			t.Error("the dump of what was restored differs")
		}
	}
}

// A metadata snapshot does not store the size of the data device. XML says 0, as always; our own
// formats give the pool's current size.
func TestContract_snapshotSize(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{` nr_data_blocks="0">`, []string{"thin_dump", "-m", path}},
		{` nr_data_blocks="0">`, []string{"thin_delta", "-m", "--thin1", "1", "--thin2", "2", path}},
		{`"data_blocks":100000`, []string{"thin_dump", "-m", "-f", "json", path}},
		{`"data_blocks":100000`, []string{"thin_delta", "-m", "-f", "json", "--thin1", "1", "--thin2", "2", path}},
	} {
		first, _, _ := strings.Cut(asked(t, c.args[0], c.args[1:]...), "\n")
		if !strings.Contains(first, c.want) {
			t.Errorf("%q: %q, want %s", c.args, first, c.want)
		}
	}
	// So that the dump can be restored.
	restore(t, asked(t, "thin_dump", "-m", "-f", "json", path), size(t, path))
}

// The version is three numbers, and compares as text above what clients require.
func TestContract_version(t *testing.T) {
	t.Parallel()
	for _, e := range must(os.ReadDir(tools)) {
		out := asked(t, e.Name(), "-V")
		if !regexp.MustCompile(`^\d+\.\d+\.\d+\n$`).MatchString(out) || out < "1.0.0" {
			t.Errorf("%s -V: %q", e.Name(), out)
		}
	}
}

// All spellings of -m, before and after the device, are equivalent.
func TestContract_metadataSnap(t *testing.T) {
	t.Parallel()
	path := heldPool(t)
	held := fmt.Sprint(uint64(read(t, path, true).superblock.Block))
	for tool, args := range map[string][]string{
		"thin_dump": {}, "thin_ls": {}, "thin_delta": {"--snap1", "1", "--snap2", "2"}, "thin_rmap": {"--region", "0..-1"}, "thin_report": {"--pool", "p"}, "thin_stat": {"--op", "devices"},
	} {
		want := asked(t, tool, append(args, "-m", path)...)
		for _, line := range [][]string{
			{"-m" + held, path},
			{"-m=" + held, path},
			{"-m", held, path},
			{path, "-m"},
			{path, "-m", held},
			{"--metadata-snap", path},
			{"--metadata-snap=" + held, path},
			{"--metadata-snap", held, path},
			{path, "--metadata-snap"},
			{path, "--metadata-snap", held},
			{path, "--metadata-snap=" + held},
		} {
			if got := asked(t, tool, slices.Concat(args, line)...); got != want {
				t.Errorf("%s %q prints something else", tool, line)
			}
		}
		fails(t, tool, append(args, "-m1", path)...)
	}
	want := asked(t, "thin_delta", "--thin1", "1", "--thin2", "2", path)
	c := read(t, path, false)
	if got := asked(t, "thin_delta", "--snap1", "1", "--snap2", "2", path); got != want || len(c.mappings) != 2 {
		t.Error("--snap1 is not --thin1")
	}
}

// The columns of thin_ls are right-aligned, with one space after each. Except for human-readable
// columns, values are plain numbers.
func TestContract_columns(t *testing.T) {
	t.Parallel()
	path := fixture(t, "layers")
	for _, fields := range []string{
		"DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,HIGHEST_BLOCK", "DEV,MAPPED_SECTORS,EXCLUSIVE_SECTORS,SHARED_SECTORS,HIGHEST_SECTOR",
		"DEV,MAPPED_BYTES,EXCLUSIVE_BYTES,SHARED_BYTES,HIGHEST_BYTE", "TRANSACTION,CREATE_TIME,SNAP_TIME",
	} {
		out := asked(t, "thin_ls", "-o", fields, path)
		header, rows, _ := strings.Cut(out, "\n")
		if asked(t, "thin_ls", "--no-headers", "-o", fields, path) == out || strings.Join(strings.Fields(header), ",") != fields {
			t.Errorf("header %q", header)
		}
		for line := range strings.Lines(rows) {
			if len(line) != len(header)+1 || !strings.HasSuffix(line, " \n") || strings.HasSuffix(line, "  \n") {
				t.Errorf("%q is not aligned with %q", line, header)
			}
			for _, cell := range strings.Fields(line) {
				must(strconv.ParseUint(cell, 10, 64))
			}
		}
	}
	if out := asked(t, "thin_ls", "--no-headers", "-o", "MAPPED,EXCLUSIVE,SHARED,HIGHEST_MAPPED", path); !regexp.MustCompile(`^( *\d+(b|[KMGTPE]iB) ){4}\n`).MatchString(out) {
		t.Errorf("for people: %.100q", out)
	}
}

// Numbers in bytes and sectors are integers in any locale.
func TestContract_numbers(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	for _, unit := range []string{"b", "s"} {
		for _, pool := range []string{"100m", "1t", "9999999999k"} {
			out := asked(t, "thin_metadata_size", "-b", "64k", "-s", pool, "-m", "999", "-u", unit, "-n")
			must(strconv.ParseUint(strings.TrimSuffix(out, "\n"), 10, 64))
		}
	}
}

// A missing device is an error, and nothing is printed for it.
func TestContract_unknownDevice(t *testing.T) {
	t.Parallel()
	path := fixture(t, "layers")
	for _, args := range [][]string{
		{"thin_dump", "--dev-id", "99"},
		{"thin_dump", "--dev-id", "1", "--dev-id", "99"},
		{"thin_delta", "--thin1", "1", "--thin2", "99"},
		{"thin_delta", "--thin1", "99", "--thin2", "1"},
	} {
		fails(t, args[0], append(args[1:], path)...)
	}
	r := run(t, filepath.Join(tools, "thin_dump"), "-f", "json", "--dev-id", "99", path)
	if want := `{"type":"error","message":"device 99: no such device","exit_code":1}` + "\n"; r.code != 1 || r.out != want {
		t.Errorf("exit code %d, %q, want 1, %q", r.code, r.out, want)
	}
	file := filepath.Join(t.TempDir(), "dump")
	fails(t, "thin_dump", "--dev-id", "99", "-o", file, path)
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was made")
	}
}

// Runs are ordered by thin block, do not overlap, and are as long as possible.
func TestContract_runs(t *testing.T) {
	t.Parallel()
	for _, path := range []string{heldPool(t), fixture(t, "layers"), fixture(t, "powercut")} {
		for id := range read(t, path, false).mappings {
			root := must(parseTree(asked(t, "thin_dump", "--dev-id", fmt.Sprint(id), path)))
			last := metadata.Run{Thin: math.MaxUint64}
			for _, m := range root.child(t, "device").children {
				r := metadata.Run{Len: 1, Time: uint32(m.number(t, "time"))}
				begin, data := "origin_block", "data_block"
				if m.tag == "range_mapping" {
					begin, data, r.Len = "origin_begin", "data_begin", m.number(t, "length")
				}
				r.Thin, r.Data = metadata.ThinBlock(m.number(t, begin)), metadata.DataBlock(m.number(t, data))
				end := last.Thin + metadata.ThinBlock(last.Len)
				if last.Thin != math.MaxUint64 && (r.Thin < end || r.Thin == end && r.Data == last.Data+metadata.DataBlock(last.Len) && r.Time == last.Time) {
					t.Fatalf("device %d: %v after %v", id, r, last)
				}
				if last = r; r.Len == 1 == (m.tag == "range_mapping") {
					t.Fatalf("device %d: %v is a %s", id, r, m.tag)
				}
			}
		}
	}
}
