package explore_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thinpool/fixtures"
	"thinpool/metadata/block"
	"thinpool/metadata/block/blocktest"
	"thinpool/tool/explore"
)

// play presses keys, separated by spaces: names of keys, or text to type.
func play(tb testing.TB, opt explore.Options, size explore.Size, script string) explore.Model {
	tb.Helper()
	m, first := explore.New(opt)
	return explore.Play(tb.Context(), m, first, append([]explore.Msg{size}, explore.Keys(script)...)...)
}

var usual = explore.Size{Width: 80, Height: 24}

// damaged returns an image written by a kernel, with one leaf lost.
func damaged(tb testing.TB) *blocktest.Mem {
	tb.Helper()
	dev := fixtures.Mem(tb, "odd-blocks")
	if err := block.Write(dev, 81, new(block.Data)); err != nil {
		tb.Fatal(err)
	}
	return dev
}

// The screens in testdata were compared by hand with the output of thin_check, thin_scan, thin_rmap,
// thin_dump and od for the same images.
func TestGolden(t *testing.T) {
	for name, tc := range map[string]struct {
		dev    *blocktest.Mem
		size   explore.Size
		script string
	}{
		"superblock":  {damaged(t), usual, ""},
		"inner":       {damaged(t), usual, "enter j enter"},
		"leaf":        {damaged(t), usual, "enter j enter j enter G"},
		"fault":       {damaged(t), usual, "f"},
		"owners":      {damaged(t), usual, "f o"},
		"bytes":       {damaged(t), usual, ": dev space 2 enter x j j j j j j j j"},
		"faults":      {damaged(t), usual, "m j j j enter j"},
		"mappers":     {fixtures.Mem(t, "wide-sharing"), usual, ": data space 3 enter"},
		"details":     {fixtures.Mem(t, "transactions"), usual, "j enter j"},
		"bitmap":      {damaged(t), usual, "j j j j enter enter"},
		"snapshot":    {fixtures.Mem(t, "metadata-snap"), usual, "m j enter"},
		"states":      {damaged(t), usual, "m j j enter j j j"},
		"difference":  {fixtures.Mem(t, "layers"), usual, ": dev space 1 enter d 2 enter"},
		"narrow":      {damaged(t), explore.Size{Width: 40, Height: 12}, "f"},
		"narrow-side": {damaged(t), explore.Size{Width: 40, Height: 12}, "f tab"},
		"help":        {damaged(t), usual, "?"},
	} {
		t.Run(name, func(t *testing.T) {
			m := play(t, explore.Options{Device: tc.dev, Path: "pool.meta"}, tc.size, tc.script)
			want, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
			if os.Getenv("EXPLORE_WRITE") != "" {
				if err := os.WriteFile(filepath.Join("testdata", name+".txt"), []byte(m.Text()), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(want), m.Text()); diff != "" || err != nil {
				t.Errorf("%v, %s", err, diff)
			}
		})
	}
}

// A screen of any size gets exactly its number of lines, each exactly as wide.
func TestSizes(t *testing.T) {
	dev := damaged(t)
	for _, script := range []string{"", "f", "f o", "x", "?", ": 1 2 3", "f tab", "m j j enter", "enter j enter /45614 enter"} {
		for width := 20; width <= 200; width += 13 {
			for height := 6; height < 70; height += 17 {
				m := play(t, explore.Options{Device: dev, Path: "/a/path/that/is/longer/than/some/screens/pool.meta"}, explore.Size{Width: width, Height: height}, script)
				lines := m.View()
				if len(lines) != height {
					t.Errorf("%dx%d after %q: %d lines", width, height, script, len(lines))
				}
				for i, line := range lines {
					n := 0
					for _, span := range line {
						n += len([]rune(span.Text))
					}
					if n != width {
						t.Fatalf("%dx%d after %q: line %d has %d columns: %q", width, height, script, i, n, line)
					}
				}
			}
		}
	}
}

// A model does not change when Update makes the next one from it.
func TestModelsAreValues(t *testing.T) {
	dev := damaged(t)
	m, first := explore.New(explore.Options{Device: dev, Path: "pool.meta"})
	m = explore.Play(t.Context(), m, first)
	type state struct {
		m    explore.Model
		text string
	}
	var states []state
	for _, key := range explore.Keys("enter j enter j j x j h m j j enter j enter h f F o /45 enter n e backspace y c h r : data space 5 enter tab j ?") {
		states = append(states, state{m, m.Text()})
		next, e := m.Update(key)
		m = explore.Play(t.Context(), next, e)
	}
	for i, s := range states {
		if s.m.Text() != s.text {
			t.Errorf("model %d has changed: %s", i, cmp.Diff(s.text, s.m.Text()))
		}
	}
}

// Escape ends a pass: the model cancels its job, and drops what the job still delivers.
func TestEscapeEndsAPass(t *testing.T) {
	m := play(t, explore.Options{Device: damaged(t), Path: "pool.meta"}, usual, "")
	m, e := m.Update(explore.Key("f"))
	if len(e.Jobs) != 1 {
		t.Fatalf("%d jobs", len(e.Jobs))
	}
	m, _ = m.Update(explore.Progress{Job: e.Jobs[0].ID, Phase: "mappings", Done: 1, Total: 4})
	if !strings.Contains(m.Text(), "checking... mappings 25 % (Esc: stop)") {
		t.Errorf("no progress: %s", m.Text())
	}
	if m, again := m.Update(explore.Key("o")); len(again.Jobs) != 0 || !strings.Contains(m.Text(), "checking: not finished yet") {
		t.Errorf("a second pass: %s", m.Text())
	}
	moved, _ := m.Update(explore.Key("j"))
	if moved.Text() == m.Text() {
		t.Error("keys wait for a pass")
	}
	stopped, end := m.Update(explore.Key("esc"))
	if end.Cancel != e.Jobs[0].ID {
		t.Errorf("job %d is cancelled, want %d", end.Cancel, e.Jobs[0].ID)
	}
	late, _ := stopped.Update(e.Jobs[0].Run(t.Context(), func(string, uint64, uint64) {}))
	if late.Text() != stopped.Text() {
		t.Errorf("what came late is shown: %s", late.Text())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m, _ = m.Update(e.Jobs[0].Run(ctx, func(string, uint64, uint64) {}))
	if !strings.Contains(m.Text(), context.Canceled.Error()) {
		t.Errorf("a pass does not end with its context: %s", m.Text())
	}
}

// Keys pressed while a page is read are not lost.
func TestKeysWait(t *testing.T) {
	dev := damaged(t)
	m, first := explore.New(explore.Options{Device: dev, Path: "pool.meta"})
	m, _ = m.Update(usual)
	for _, key := range explore.Keys("enter j enter") {
		var e explore.Effects
		m, e = m.Update(key)
		if len(e.Jobs) > 0 {
			t.Fatal("a job starts before the first page is there")
		}
	}
	m = explore.Play(t.Context(), m, first)
	want, err := os.ReadFile("testdata/inner.txt")
	if diff := cmp.Diff(string(want), m.Text()); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
}

// Names from LVM and the path of the file never reach the terminal raw.
func TestNamesArePrintable(t *testing.T) {
	opt := explore.Options{Device: damaged(t), Path: "a\x1b[31m\nb", Name: nameAll}
	for _, script := range []string{"", "enter", "f", "f o", "m j j j enter", "m j j enter enter", ": data space 1720 enter", "enter enter d"} {
		for _, line := range play(t, opt, usual, script).View() {
			if strings.ContainsAny(line.String(), "\x1b\n\u202e\x07") {
				t.Errorf("after %q: %q", script, line.String())
			}
		}
	}
	text := play(t, opt, usual, "enter").Text()
	if !strings.Contains(text, `vg/\u001b[2J\u202e`) {
		t.Errorf("the name is not escaped: %s", text)
	}
}

func TestQuit(t *testing.T) {
	m := play(t, explore.Options{Device: damaged(t), Path: "pool.meta"}, usual, "")
	for _, key := range []explore.Key{"q", "ctrl+c"} {
		if _, e := m.Update(key); !e.Quit {
			t.Errorf("%s does not quit", key)
		}
	}
	if m, e := play(t, explore.Options{Device: damaged(t)}, usual, "?").Update(explore.Key("q")); e.Quit || strings.Contains(m.Text(), "Moving") {
		t.Error("q does not only leave the help")
	}
}

func TestCopyPath(t *testing.T) {
	m := play(t, explore.Options{Device: damaged(t), Path: "pool.meta"}, usual, "enter j enter j enter x")
	m, e := m.Update(explore.Key("y"))
	if e.Copy != "0/68/72/87" {
		t.Errorf("copied %q", e.Copy)
	}
	back := play(t, explore.Options{Device: damaged(t), Path: "pool.meta", NodePath: e.Copy}, usual, "")
	want := play(t, explore.Options{Device: damaged(t), Path: "pool.meta"}, usual, "enter j enter j enter")
	if back.Text() != want.Text() {
		t.Errorf("the path leads elsewhere: %s", cmp.Diff(want.Text(), back.Text()))
	}
	if !strings.Contains(m.Text(), "copied 0/68/72/87") {
		t.Error("nothing says that it was copied")
	}
}

func TestParseNodePath(t *testing.T) {
	for text, want := range map[string][]block.Nr{
		"0/20/31": {0, 20, 31}, "7": {7}, "/0/1/": {0, 1},
		"AgEU": {0, 20}, "AgEU=": {0, 20}, // set, one byte
		"AwEU":         {20},                // not from block 0 on
		"AgIsAQ":       {0, 300},            // set, two bytes
		"CAEUE1Ey":     {0, 20, 23, 23, 21}, // set, 3 up, the same, 2 down
		"CAEUcxE":      {0, 20, 21, 22, 23}, // set, three times 1 up
		"BgEUIugDQugD": {0, 20, 1020, 20},   // set, up and down by two bytes
		"CAEJYAM":      {0, 9, 9, 9, 9},     // set, repeat
	} {
		got, err := explore.ParseNodePath(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0//1", "0/x", "A", "AgE", "/wA", "////", "99999999999999999999"} {
		if got, err := explore.ParseNodePath(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
