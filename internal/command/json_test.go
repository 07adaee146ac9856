package command

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/test/shared"
)

// emitted collects the keys of objects, and string values that are single words.
type emitted struct{ keys, values map[string]bool }

func (e emitted) add(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			e.keys[key] = true
			e.add(value)
		}
	case []any:
		for _, value := range v {
			e.add(value)
		}
	case string:
		e.values[v] = true
	}
}

// jsonImages are files that together produce all kinds of output.
type jsonImages struct{ held, damaged, fixable, writable, full, noSuperblock, orphans, disk, overlay, backup, mapfile string }

func makeJSONImages(t *testing.T) jsonImages {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	disk, _ := fixtures.Disks(t, "one-pv")
	im := jsonImages{path("held"), path("damaged"), path("fixable"), path("writable"), path("full"), path("lost"), path("orphans"), disk[0], disk[0] + ".qcow2", path("backup"), path("map")}
	save := func(to string, content []byte) {
		if err := os.WriteFile(to, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"ext2", "ext3", "xfs-v5"} {
		save(im.files(name), fileSystem(t, name))
	}
	save(im.mapfile, []byte("# Mapfile. Created by GNU ddrescue version 1.27\n0x00 ? 1\n0x0 0x3000 +\n0x3000 0x8000 -\n0xb000 0x1f5000 +\n"))
	save(im.overlay, Overlay(filepath.Base(im.disk), "raw", 192<<20))
	fixtures.Write(t, "metadata-snap", im.held)
	fixtures.Write(t, "powercut", im.fixable)
	save(im.writable, fixtures.Writable(t, 2, false).Contents())
	damaged := fixtures.Mem(t, "metadata-snap")
	var a, b block.Data
	for _, change := range []func() error{
		func() error { return block.Read(damaged, 205, &a) },
		func() error { a[100] ^= 1; return block.Write(damaged, 205, &a) }, // a flipped bit
		func() error { return block.Read(damaged, 120, &b) },
		func() error { return block.Write(damaged, 300, &b) }, // misplaced
		func() error { return block.Write(damaged, 209, new(block.Data)) },
		func() error { return block.Write(damaged, 233, new(block.Data)) }, // points to leaves
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
	}
	save(im.damaged, damaged.Contents())
	f := fixtures.NewForge(t, 10, 1000)
	f.Superblock.Flags = metadata.NeedsCheck
	f.Device(1, f.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
	f.LeakData(500)
	save(im.full, f.Finish().Contents())
	o := fixtures.NewForge(t, 64, 1000)
	o.Device(1, o.Leaf(metadata.Run{Thin: 0, Data: 10, Len: 200}))
	o.Device(2, o.Leaf(metadata.Run{Thin: 0, Data: 300, Len: 200}))
	orphans := o.Finish()
	if err := block.Write(orphans, o.Superblock.MappingRoot, new(block.Data)); err != nil {
		t.Fatal(err)
	}
	save(im.orphans, orphans.Contents())
	save(im.backup, []byte(strings.ReplaceAll(fixtures.Layout(t, im.disk, "linear"), "transaction_id = 4", "transaction_id = 9")))
	lost := fixtures.Mem(t, "layers")
	if err := block.Write(lost, 0, &block.Data{1}); err != nil {
		t.Fatal(err)
	}
	save(im.noSuperblock, lost.Contents())
	return im
}

// files returns the path of a file system image.
func (im *jsonImages) files(name string) string { return im.held + "." + name }

// fileSystem returns an image from the test data of package fsmap.
func fileSystem(t *testing.T, name string) []byte {
	t.Helper()
	return shared.Unpack(t, "../../fsmap/testdata/"+name+".img.zst")
}

// run runs a tool, ignores its exit code, and collects what it prints.
func (e emitted) run(t *testing.T, name string, args ...string) {
	t.Helper()
	tools := slices.Concat(Tools(), Apart())
	i := slices.IndexFunc(tools, func(tool cli.Tool) bool { return tool.Name == name })
	_, stdout, stderr := runTool(t, tools[i], args...)
	if stdout == "" {
		t.Fatalf("%s %q prints nothing: %s", name, args, stderr)
	}
	if err := ValidateJSON(Schemas, name, strings.NewReader(stdout)); err != nil {
		t.Errorf("%s %q: %v", name, args, err)
	}
	for line := range strings.Lines(stdout) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s %q: %q: %v", name, args, line, err)
		}
		e.add(v)
	}
}

// docs/json.md names every field that is printed, section by section, and nothing that is neither a
// field nor a value.
func TestJSONDocumented(t *testing.T) {
	im := makeJSONImages(t)
	sections := map[string][][]string{
		"thin_dump": {{"-f", "json", im.held}, {"-m", "-f", "json", im.held}},
		"thin_check": {
			{"--format", "json", im.held},
			{"--format", "json", im.damaged},
			{"--format", "json", im.fixable},
			{"--format", "json", "--auto-repair", im.full},
			{"--format", "json", "--auto-repair", im.fixable},
			{"--format", "json", "--auto-repair", im.writable},
			{"--format", "json", im.noSuperblock},
			{"--format", "json", "--lvm-metadata", im.backup, im.disk},
		},
		"thin_delta": {
			{"-f", "json", "--thin1", "1", "--thin2", "2", im.held},
			{"-f", "json", "--verbose", "--unit", "byte", "--thin1", "1", "--thin2", "3", im.held},
			{"-f", "json", "--unit", "sector", "--root1", "120", "--root2", "120", im.held},
		},
		"thin_export": {{"--format", "json", "--metadata", im.held, "--dev-id", "1", "--changed-since", "3"}, {"--format", "json", "--repair", "--metadata", im.damaged, "--dev-id", "2"}},
		"thin_files": {
			{"--format", "json", "--range", "0..-1", im.files("ext3")},
			{"--format", "json", "--range", "0..-1", im.files("xfs-v5")},
			{"--format", "json", "--range", "0..10", "--mapfile", im.mapfile, im.files("ext2")},
		},
		"thin_repair": {
			{"--format", "json", "--dry-run", "-i", im.damaged},
			{"--format", "json", "--list-states", "-i", im.held},
			{"--format", "json", "--dry-run", "--drop-device", "1", "-i", im.damaged},
			{"--format", "json", "--dry-run", "--keep-orphans", "-i", im.orphans},
		},
		"thin_ls":            {{"-o", "json", im.held}, {"-o", "json", im.disk}, {"-o", "json", "--totals", "--sets", im.held}},
		"thin_stat":          {{"--format", "json", im.held}, {"--format", "json", "--op", "devices", im.held}, {"--format", "json", "--op", "devices", im.disk}},
		"thin_metadata_size": {{"--format", "json", "-b64k", "-s1g", "-m1"}, {"--format", "json", "-b64k", "-s99t", "-m1"}, {"--format", "json", "--explain", "-b64k", "-s1g", "-m1"}, {"--format", "json", "--explain", "-b64k", "-s99t", "-m1"}, {"--format", "json", "--from", im.held}},
		"thin_rmap":          {{"--format", "json", "--region", "0..-1", im.held}, {"--format", "json", "--region", "0..-1", im.disk}},
		"thin_report":        {{"--format", "json", im.held}, {"--format", "json", im.damaged}, {"--format", "json", im.full}, {"--format", "json", "--lvm-metadata", im.backup, im.disk}},
		"thin_scan":          {{"--format", "json", im.held}, {"--format", "json", im.damaged}, {"--format", "json", im.noSuperblock}},
		"thin_shrink":        {{"--format", "json", "--dry-run", "--nr-blocks", "205", "-i", im.full}},
		"thin_trim":          {{"--format", "json", "--dry-run", "--metadata-dev", im.full}},
		"thin_volumes":       {{"--format", "json", "--exclusive", "--lvm-metadata", im.backup, im.disk}, {"--format", "json", "--history", im.disk}, {"--format", "json", im.overlay}},
	}
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	quoted, word := regexp.MustCompile("`([^`]*)`"), regexp.MustCompile(`^[a-z_ ]+$`)
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		name := strings.Fields(section)[0]
		runs := sections[name]
		delete(sections, name)
		t.Run(name, func(t *testing.T) {
			e := emitted{map[string]bool{}, map[string]bool{}}
			for _, args := range runs {
				e.run(t, name, args...)
			}
			documented := map[string]bool{}
			for _, m := range quoted.FindAllStringSubmatch(section, -1) {
				if word.MatchString(m[1]) {
					documented[m[1]] = true
				}
			}
			for key := range e.keys {
				if !documented[key] && key != "type" {
					t.Errorf("field %s is not documented", key)
				}
			}
			for w := range documented {
				if !e.keys[w] && !e.values[w] && !slices.Contains(unseen[name], w) {
					t.Errorf("%s is documented, and nothing is called so", w)
				}
			}
		})
	}
	for name := range sections {
		t.Errorf("docs/json.md says nothing of %s", name)
	}
}

// unseen lists documented words that none of the runs above prints.
var unseen = map[string][]string{
	"thin_check":  {"more_dev_ids"},
	"thin_files":  {"unwritten", "quota", "attributes", "reference tree", "reverse map tree", "other", "note", "more_paths", "extent tree"},
	"thin_repair": {"holes_left_out"},
	"thin_report": {"more_dev_ids"},
	"thin_scan":   {"unreadable", "beyond the end"},
	// What this group lacks: LVM's other keys, RAID, external origins, pending messages.
	"thin_volumes": {
		"variant", "stripe_size", "layers", "members", "partition", "system_id", "external_origin", "merge", "lock_type", "delete", "create",
		"other", "error", "allocation_policy", "profile", "problem", "note",
	},
}
