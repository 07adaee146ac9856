package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/internal/view"
)

// jsonLines decodes JSON lines and groups them by type.
func jsonLines(t *testing.T, out string) map[string][]map[string]any {
	t.Helper()
	all := map[string][]map[string]any{}
	for line := range strings.Lines(out) {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber() // keep numbers as written
		var rec map[string]any
		if err := d.Decode(&rec); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		kind, _ := rec["type"].(string)
		all[kind] = append(all[kind], rec)
	}
	return all
}

// at follows keys; empty if a key is missing.
func at(rec map[string]any, keys ...string) string {
	for _, key := range keys[:len(keys)-1] {
		rec, _ = rec[key].(map[string]any)
	}
	if v := rec[keys[len(keys)-1]]; v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// first returns the first string that is not empty.
func first(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// asLvs converts an LV in JSON to the rows lvs prints for it.
func asLvs(lv map[string]any) []map[string]string {
	var rows []map[string]string
	for _, s := range lv["segments"].([]any) {
		var devices []string
		for _, d := range s.(map[string]any)["devices"].([]any) {
			d := d.(map[string]any)
			name := at(d, "lv")
			if pv := at(d, "pv"); pv != "" {
				name = map[string]string{"pv0": "/dev/vda", "pv1": "/dev/vdb"}[pv]
			}
			devices = append(devices, fmt.Sprintf("%s(%s)", name, at(d, "extent")))
		}
		name := at(lv, "name")
		if at(lv, "visible") != "true" {
			name = "[" + name + "]"
		}
		rows = append(rows, map[string]string{
			"LV": name, "VG": at(lv, "vg"), "Type": at(lv, "segtype"), "LSize": at(lv, "size") + "B", "Devices": strings.Join(devices, ","),
			"Pool": at(lv, "thin", "pool"), "Origin": at(lv, "thin", "origin"), "ThId": at(lv, "thin", "dev_id"),
			"TransId": first(at(lv, "thin", "transaction_id"), at(lv, "thin_pool", "transaction_id")),
			"Data%":   first(at(lv, "thin", "device", "data_percent"), at(lv, "thin_pool", "superblock", "data_percent")),
			"Meta%":   at(lv, "thin_pool", "superblock", "metadata_percent"),
			"Chunk":   first(at(lv, "thin_pool", "chunk_size"), "0") + "B",
		})
	}
	return rows
}

// The output matches what LVM printed while the pools were active, to the last digit.
func TestVolumesAsLVM(t *testing.T) {
	for _, name := range []string{"one-pv", "two-pvs"} {
		paths, _ := fixtures.Disks(t, name)
		code, out, stderr := runTool(t, VolumesTool, append(paths, "--format", "json", "--exclusive")...)
		if code != 0 || stderr != "" {
			t.Fatalf("%s: exit code %d, stderr %q", name, code, stderr)
		}
		all := jsonLines(t, out)
		var got []map[string]string
		for _, lv := range all["lv"] {
			got = append(got, asLvs(lv)...)
		}
		want := fixtures.Report(t, name, "lvs")
		for _, row := range want {
			delete(row, "Attr") // includes whether it is active
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: lvs (-LVM +ours):\n%s", name, diff)
		}
		var pvs []map[string]string
		for i, pv := range all["pv"] {
			pvs = append(pvs, map[string]string{
				"PV": "/dev/vd" + string(rune('a'+i)), "VG": at(pv, "vg"), "PV UUID": at(pv, "id"),
				"PSize": at(pv, "size") + "B", "1st PE": at(pv, "pe_start") + "B",
			})
		}
		if diff := cmp.Diff(fixtures.Report(t, name, "pvs"), pvs); diff != "" {
			t.Errorf("%s: pvs (-LVM +ours):\n%s", name, diff)
		}
		if len(all["lvm"])+len(all["device"])+len(all["problem"]) > 0 || len(all["vg"]) != 1 {
			t.Errorf("%s: %v", name, all)
		}
	}
}

// The table also has the kernel's percentages, and thin_ls agrees on the exclusive blocks.
func TestVolumesTable(t *testing.T) {
	paths, _ := fixtures.Disks(t, "one-pv")
	_, rows, _ := runTool(t, LsTool, paths[0], "--no-headers", "-o", "NAME,EXCLUSIVE_BYTES")
	code, out, stderr := runTool(t, VolumesTool, paths[0], "--exclusive")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	table := map[string][]string{}
	for line := range strings.Lines(out[strings.Index(out, "Logical volumes"):strings.Index(out, "Thin pools")]) {
		if cells := strings.Fields(line); len(cells) > 1 {
			table[cells[0]] = cells
		}
	}
	for _, row := range fixtures.Report(t, "one-pv", "lvs") {
		for _, column := range []string{"Data%", "Meta%"} {
			if row[column] != "" && !slices.Contains(table[row["LV"]], row[column]) {
				t.Errorf("%s: there is no %s in %q", row["LV"], row[column], table[row["LV"]])
			}
		}
	}
	for line := range strings.Lines(rows) {
		cells := strings.Fields(line)
		bytes, err := strconv.ParseUint(cells[1], 10, 64)
		name := strings.TrimPrefix(cells[0], "vg1/")
		if err != nil || !slices.Contains(table[name], view.PlainSize(bytes)) {
			t.Errorf("%s: there is no %s in %q", name, view.PlainSize(bytes), table[name])
		}
	}
}

// Unusual settings in a text appear in the notes.
func TestVolumesNotes(t *testing.T) {
	paths, _ := fixtures.Disks(t, "one-pv")
	_, text, _ := runTool(t, VolumesTool, "--text", paths[0])
	messages := "transaction_id = 5\nmessage1 { create = \"trimmed\" }\nmessage2 { delete = 4 }"
	for name, c := range map[string]struct {
		from, to string
		want     []string // parts of the tables or, with a !, of standard error
	}{
		"another device id": {
			"device_id = 4", "device_id = 7",
			[]string{"not in the pool", "(no volume)", "unknown to LVM", "!fatal: LVM: volume vg1/trimmed is device 7"},
		},
		"another id, and messages": {
			"transaction_id = 4", messages,
			[]string{"waiting: create trimmed, waiting: delete 4", "to be created", "to be deleted", "!LVM makes up for one step"},
		},
		"read-only":        {`status = ["READ", "WRITE", "VISIBLE"]`, `status = ["READ", "VISIBLE", "LOCKED"]`, []string{"80MiB  pool               1        0   15MiB  19.06         read-only, LOCKED\n"}},
		"hidden WRITE":     {`status = ["READ", "WRITE", "VISIBLE"]` + "\nflags = []", `status = ["READ", "VISIBLE"] flags = ["WRITE_LOCKED"]`, []string{"  1        0   15MiB  19.06\n"}},
		"tags":             {`creation_host = "thin-vm"` + "\nsegment_count", `tags = ["a", "b"] segment_count`, []string{"ACTIVATION_SKIP, @a @b\n"}},
		"external origin":  {"device_id = 4", `device_id = 4 external_origin = "base" merge = "snap"`, []string{"on top of base, to be merged into snap\n"}},
		"system id":        {"max_lv = 0", `max_lv = 0 system_id = "hal" lock_type = "sanlock" tags = ["x"] new = [1, 2.5]`, []string{"system id hal, lock type sanlock, @x\n", "\n  new              1, 2.5\n"}},
		"cropped metadata": {"chunk_size = 128", "chunk_size = 128 crop_metadata = 1", []string{"metadata cropped\n"}},
		"other metadata":   {`metadata = "pool_tmeta"`, `metadata = "pool_tdata"`, []string{"metadata cannot be read: superblock: block 0: bad checksum"}},
		"no metadata":      {`metadata = "pool_tmeta"`, `metadata = "none"`, []string{"metadata cannot be read: its metadata volume none is missing"}},
		"no pool":          {`thin_pool = "pool"`, `thin_pool = "none"`, []string{"the pool is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			edited := strings.ReplaceAll(text, c.from, c.to)
			if name == "another id, and messages" {
				edited = strings.ReplaceAll(edited, "device_id = 4", "device_id = 7")
			}
			path := filepath.Join(t.TempDir(), "text")
			if err := os.WriteFile(path, []byte(edited), 0o600); err != nil || edited == text {
				t.Fatal(err, "or nothing to replace")
			}
			code, out, stderr := runTool(t, VolumesTool, "-v", "--lvm-metadata", path, paths[0])
			if code != 0 {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
			for _, want := range c.want {
				want, isErr := strings.CutPrefix(want, "!")
				if in := map[bool]string{false: out, true: stderr}[isErr]; !strings.Contains(in, want) {
					t.Errorf("there is no %q in\n%s", want, in)
				}
			}
			code, out, _ = runTool(t, VolumesTool, "--format", "json", "--lvm-metadata", path, paths[0])
			if all := jsonLines(t, out); code != 0 || len(all["lv"]) != 8 {
				t.Errorf("JSON: exit code %d, %d volumes", code, len(all["lv"]))
			}
		})
	}
}

// JSON contains all keys, known or not.
func TestVolumesOtherKeys(t *testing.T) {
	paths, _ := fixtures.Disks(t, "one-pv")
	_, text, _ := runTool(t, VolumesTool, "--text", paths[0])
	for from, to := range map[string]string{
		"max_lv = 0":      `max_lv = 0 new = [1, 2.5, "x"] section { key = "value" }`,
		"pe_count = 191":  "pe_count = 191 ba_start = 7",
		"device_id = 4":   "device_id = 4 more = -1",
		"segment_count =": "odd = 1 segment_count =",
	} {
		text = strings.ReplaceAll(text, from, to)
	}
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := runTool(t, VolumesTool, "--format", "json", "--lvm-metadata", path, paths[0])
	if code != 0 {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		`"other":{"new":[1,2.5,"x"],"section":{"key":"value"}}`, `"other":{"ba_start":7}`, `"other":{"odd":1}`,
		`"keys":{"device_id":4,"more":-1,"thin_pool":"pool","transaction_id":3}`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %s in\n%s", want, out)
		}
	}
}

// Volumes on disks in use are listed, but not what the metadata of their pools says.
func TestVolumesInUse(t *testing.T) {
	paths, _ := fixtures.Disks(t, "one-pv")
	var out bytes.Buffer
	env := &cli.Env{Context: t.Context(), Stdout: &out, Stderr: io.Discard, Log: slog.New(slog.DiscardHandler)}
	tool := &ThinVolumes{Input: paths}
	p, busy, err := tool.look(env)
	if err != nil || busy {
		t.Fatalf("busy %v, err %v", busy, err)
	}
	defer p.Close()
	if err := tool.list(env, p, true); err != nil {
		t.Fatal(err)
	}
	if s := out.String(); !strings.Contains(s, "metadata cannot be read: the disk is in use") || !strings.Contains(s, "trimmed") || strings.Contains(s, "45.31") {
		t.Error(s)
	}
}

// Any text is either listed or refused, and people and programs get the same answer.
func TestVolumesAnyText(t *testing.T) {
	paths, _ := fixtures.Disks(t, "one-pv")
	_, sound, _ := runTool(t, VolumesTool, "--text", paths[0])
	path := filepath.Join(t.TempDir(), "text")
	r := rand.New(rand.NewPCG(1, 2))
	listed := 0
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	for range rounds {
		text := []byte(sound)
		for range 1 + r.IntN(3) {
			text = garble(r, text)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var codes []int
		for _, format := range []string{"text", "json"} {
			code, out, stderr := runTool(t, VolumesTool, "-v", "--segments", "--exclusive", "--format", format, "--lvm-metadata", path, paths[0])
			unprintable := func(r rune) bool { return r < ' ' && r != '\n' }
			if code > 1 || code == 1 && !strings.Contains(stderr, "thin_volumes: ") || strings.ContainsFunc(out, unprintable) {
				t.Errorf("%s: exit code %d, stderr %q, stdout %q, of\n%s", format, code, stderr, out, text)
			}
			codes = append(codes, code)
		}
		if codes[0] != codes[1] {
			t.Errorf("exit codes %d", codes)
		}
		if codes[0] == 0 {
			listed++
		}
	}
	if listed < rounds/4 || listed == rounds {
		t.Errorf("%d of %d texts are listed", listed, rounds)
	}
}

// garble changes a byte, a digit or the length of a number, or copies a piece to another place.
func garble(r *rand.Rand, text []byte) []byte {
	i := r.IntN(len(text) - 40)
	switch r.IntN(4) {
	case 0:
		text[i] = byte(r.IntN(256))
	case 1:
		text[i] = '0' + byte(r.IntN(10))
	case 2:
		from := r.IntN(len(text) - 40)
		copy(text[i:], text[from:from+r.IntN(40)])
	default:
		if n := bytes.IndexAny(text[i:], "0123456789"); n >= 0 {
			return slices.Insert(text, i+n, []byte("99999999")[:r.IntN(8)]...)
		}
	}
	return text
}

func TestTextNumber(t *testing.T) {
	for in, want := range map[string]textNumber{"7": {7, 0, true}, "7.2": {7, 2, true}, "": {}, "7.": {}, "7.0": {}, ".1": {}, "x": {}, "-1": {}} {
		var got textNumber
		if err := got.UnmarshalText([]byte(in)); (err == nil) != want.set || err == nil && got != want {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
}
