package command

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"thinpool/fixtures"
	"thinpool/internal/cli"
)

// hostile is text an attacker might use: all kinds of control characters, direction marks,
// invisible characters, invalid UTF-8, and a forged line.
const hostile = "x\x1b]0;PWN\a\x1b[31m\r\t\x7f\u0085\u009b31m\u061c\u200b\u200e\u202e\u2066\u2028\u2029\ufeff\x9b\xff\nFORGED"

// raw names the first thing in text that must not be shown; empty if there is none.
func raw(text string) string {
	switch {
	case !utf8.ValidString(text):
		return "bytes that are not UTF-8"
	case strings.HasPrefix(text, "FORGED") || strings.Contains(text, "\nFORGED"):
		return "a line that is not ours"
	}
	i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && (unicode.IsControl(r) || !unicode.IsPrint(r)) })
	if i < 0 {
		return ""
	}
	return text[max(0, i-60):min(len(text), i+20)]
}

// bearable runs a tool, ignores its exit code, and checks that its output is safe to show.
func bearable(t *testing.T, name string, args ...string) string {
	t.Helper()
	tools := slices.Concat(Tools(), Apart())
	i := slices.IndexFunc(tools, func(tool cli.Tool) bool { return tool.Name == name })
	_, stdout, stderr := runTool(t, tools[i], args...)
	if what := raw(stdout); what != "" {
		t.Errorf("%s %q: standard output has %q", name, args, what)
	}
	if what := raw(stderr); what != "" {
		t.Errorf("%s %q: standard error has %q", name, args, what)
	}
	return stdout + stderr
}

// lvmCRC computes LVM's CRC.
func lvmCRC(p []byte) uint32 {
	r := uint32(0xf597a6cf)
	for _, c := range p {
		r ^= uint32(c)
		for range 8 {
			r = r>>1 ^ 0xedb88320*(r&1)
		}
	}
	return r
}

// rewrite replaces the text on a disk with one metadata area at the usual offset.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	const areaAt, header, textAt, textSize, textCRC = 4096, 512, 40, 48, 56
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := make([]byte, header)
	if _, err := f.ReadAt(h, areaAt); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	at := int64(le.Uint64(h[textAt:]))
	le.PutUint64(h[textSize:], uint64(len(text)+1))
	le.PutUint32(h[textCRC:], lvmCRC([]byte(text+"\x00")))
	le.PutUint32(h, lvmCRC(h[4:]))
	if _, err := f.WriteAt([]byte(text+"\x00"), areaAt+at); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(h, areaAt); err != nil {
		t.Fatal(err)
	}
}

// No hostile string in a text is ever shown raw, neither to people nor to programs, wherever the
// text comes from.
func TestHostileTexts(t *testing.T) {
	disk, _ := fixtures.Disks(t, "one-pv")
	_, sound, _ := runTool(t, VolumesTool, "--text", disk[0])
	path := filepath.Join(t.TempDir(), "text")
	seen := map[string]bool{}
	shown := 0
	for _, at := range regexp.MustCompile(`(?m)^.*"[^"\n]*"|^\w+ \{`).FindAllStringIndex(sound, -1) {
		line := sound[at[0]:at[1]]
		if seen[line] {
			continue
		}
		seen[line] = true
		forged := line[:strings.LastIndexByte(line[:len(line)-1], '"')+1] + hostile + `"`
		if !strings.HasSuffix(line, `"`) { // a section
			forged = `"` + hostile + `" {`
		}
		if err := os.WriteFile(path, []byte(sound[:at[0]]+forged+sound[at[1]:]), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"thin_volumes", "-vv", "--segments", "--exclusive"},
			{"thin_volumes", "--format", "json", "--exclusive"},
			{"thin_check", "--lv", "vg1/pool", "-v"},
			{"thin_ls", "--lv", "vg1/snap"},
		} {
			if strings.Contains(bearable(t, args[0], append(args[1:], "--lvm-metadata", path, disk[0])...), "PWN") {
				shown++
			}
		}
	}
	if len(seen) < 30 || shown < len(seen) {
		t.Errorf("%d strings were changed, which was shown %d times", len(seen), shown)
	}
}

// The same for all tools, with the text on a disk.
func TestHostileDisks(t *testing.T) {
	fresh, _ := fixtures.Disks(t, "one-pv")
	_, sound, _ := runTool(t, VolumesTool, "--text", fresh[0])
	out := filepath.Join(t.TempDir(), "out")
	for name, old := range map[string]string{
		"pool of a volume": `thin_pool = "pool`,
		"metadata":         `metadata = "pool_tmeta`,
		"data":             `pool = "pool_tdata`,
		"id":               `id = "BnrlHz-wUNY-29lM-uedu-OjMt-S5M5-8vcQvu`,
		"description":      `description = "`,
		"parts":            `"pv0`,
	} {
		t.Run(name, func(t *testing.T) {
			disk, _ := fixtures.Disks(t, "one-pv")
			forged := strings.ReplaceAll(sound, old+`"`, old+hostile+`"`)
			if name == "description" {
				forged = strings.Replace(sound, old, old+hostile, 1)
			}
			if forged == sound {
				t.Fatalf("there is no %s in the text", old)
			}
			rewrite(t, disk[0], forged)
			shown := ""
			for tool, args := range metadataArgs(disk[0], out) {
				shown += bearable(t, tool, args...)
				if tool != "thin_volumes" && tool != "thin_delta" {
					shown += bearable(t, tool, append([]string{"-v", "--lv", "vg1/trimmed"}, args...)...)
					shown += bearable(t, tool, append([]string{"--lv", "vg1/" + hostile}, args...)...)
				}
			}
			for _, args := range [][]string{{"--format=json"}, {"-vv", "--segments"}, {"--history"}, {"--history", "--format=json"}, {"--vg", hostile}, {"--history", "--vg", hostile}} {
				shown += bearable(t, "thin_volumes", append(args, disk[0])...)
			}
			if !strings.Contains(shown, `\u001b]0;PWN`) {
				t.Error("the text is not shown at all")
			}
		})
	}
}

// The id a disk claims can be any 32 bytes.
func TestHostileLabel(t *testing.T) {
	disk, _ := fixtures.Disks(t, "one-pv")
	f, err := os.OpenFile(disk[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	label := make([]byte, 512)
	if _, err := f.ReadAt(label, 512); err != nil {
		t.Fatal(err)
	}
	copy(label[32:], hostile[:32])
	binary.LittleEndian.PutUint32(label[16:], lvmCRC(label[20:]))
	if _, err := f.WriteAt(label, 512); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"thin_volumes", disk[0]}, {"thin_volumes", "--format=json", disk[0]}, {"thin_check", "-v", disk[0]}} {
		if shown := bearable(t, args[0], args[1:]...); args[0] == "thin_volumes" && !strings.Contains(shown, "]0;P-WN") {
			t.Errorf("the id is not shown: %s", shown)
		}
	}
}

// Hostile file names on the command line, and files that are not what they should be.
func TestHostileNames(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, hostile)
	fixtures.Write(t, "layers", name)
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	disk, _ := fixtures.Disks(t, "one-pv")
	noise, broken := name+".noise", name+".broken"
	for path, content := range map[string][]byte{noise: []byte(strings.Repeat(hostile, 2000)), broken: append(make([]byte, 4096), content[4096:]...)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	onDisk := filepath.Join(dir, "a\n\x1b[31m", "disk")
	if err := os.Mkdir(filepath.Dir(onDisk), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(disk[0], onDisk); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{name, noise, broken, onDisk, onDisk + "@1024", name + "/x", filepath.Join(dir, "a\n\x1b[31m")} {
		for tool, args := range metadataArgs(path, name+".out") {
			bearable(t, tool, args...)
			bearable(t, tool, append([]string{"-q"}, args...)...)
		}
		bearable(t, "thin_volumes", "--format=json", path)
		bearable(t, "thin_restore", "-i", path, "-o", name+".out")
		bearable(t, "thin_restore", "-i", path, "-o", path+"/none")
		bearable(t, "thin_metadata_unpack", "-i", path, "-o", name+".out")
		bearable(t, "thin_check", "--lv", hostile, "--pv", hostile, "--lvm-metadata", path, path)
	}
	for _, backing := range []string{hostile, "json:" + hostile, "../" + hostile, "/none/" + hostile} {
		over := filepath.Join(dir, "over")
		for _, format := range []string{"raw", "\x1b\nFORGED"} {
			if err := os.WriteFile(over, Overlay(backing, format, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(bearable(t, "thin_check", over), "PWN") || !strings.Contains(bearable(t, "thin_volumes", "--format=json", over), "PWN") {
				t.Errorf("%q is not named", backing)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "over"), Overlay(filepath.Base(name), "\x1b\nFORGED", 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	bearable(t, "thin_check", filepath.Join(dir, "over"))
	const head = `<superblock uuid="" time="1" transaction="1" version="2" data_block_size="128" nr_data_blocks="1000">` + "\n"
	for _, text := range []string{
		`<superblock uuid="` + hostile + `"/>`, head + "<" + hostile + "/>", head + "<x" + hostile + "=\"1\">", head + `<device dev_id="` + hostile + `"/>`, head + hostile,
		head + `<device dev_id="1" ` + hostile + `="1"/>`, head + `<ref name="&#155;&#10;FORGED"/>`, head + `<device dev_id="1&#10;FORGED"/>`, "<?xml?><a:" + hostile + "/>", head + "</a\u009b>",
		`{"type":"` + hostile + `"}`, `{"type":"superblock","uuid":"\u009b` + hostile + `"}`, `{"` + hostile + `":1}`, "{\"type\":\"superblock\"}\n{\"type\":\"ref\",\"name\":\"\\u009b\\nFORGED\"}\n", hostile,
	} {
		if err := os.WriteFile(noise, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if bearable(t, "thin_restore", "-i", noise, "-o", name+".out") == "" {
			t.Errorf("%q is restored", text)
		}
		bearable(t, "thin_shrink", "-i", noise, "-o", "-", "--nr-blocks", "1", "--no-copy")
	}
}
