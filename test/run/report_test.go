package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// reported returns the output for events.
func reported(t *testing.T, events ...event) string {
	t.Helper()
	var in, out strings.Builder
	for _, e := range events {
		if err := json.NewEncoder(&in).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	r := newReport(&out)
	if err := r.read(strings.NewReader(in.String())); err != nil {
		t.Fatal(err)
	}
	r.printSkips()
	return out.String()
}

// skip returns the events of a skipped test.
func skip(name, output string) []event {
	return []event{
		{"output", "p", name, "=== RUN   " + name + "\n"},
		{"output", "p", name, output},
		{"output", "p", name, "--- SKIP: " + name + " (0.00s)\n"},
		{"skip", "p", name, ""},
	}
}

// Each reason to skip is printed once, most frequent first. Passing tests print only the line of
// their package.
func TestSkips(t *testing.T) {
	events := skip("A", "    a_test.go:3: many cases\n")
	events = append(events, skip("B", "    a_test.go:5: a remark\n    b_test.go:7: no kernel\n")...)
	events = append(events, skip("C", "    c_test.go:9: no kernel\n")...)
	events = append(events, skip("D", "")...)
	events = append(events,
		event{"output", "p", "E", "=== RUN   E\n"},
		event{"output", "p", "E", "    e_test.go:1: a remark\n"},
		event{"output", "p", "E", "--- PASS: E (0.00s)\n"},
		event{"pass", "p", "E", ""},
		event{"output", "p", "", "PASS\n"},
		event{"output", "p", "", "ok  \tp\t0.1s\n"},
		event{"pass", "p", "", ""},
		event{"output", "q", "", "?   \tq\t[no test files]\n"},
		event{"skip", "q", "", ""},
	)
	const want = `ok  	p	0.1s
?   	q	[no test files]

skipped:
    2  no kernel
    1  many cases
    1  no reason
`
	if diff := cmp.Diff(want, reported(t, events...)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The complete output of failing tests and build errors is printed.
func TestFailures(t *testing.T) {
	got := reported(
		t,
		event{"build-output", "", "", "x.go:1: undefined: y\n"},
		event{"output", "p", "A/b", "    a_test.go:1: wrong\n"},
		event{"output", "p", "A/b", "    --- FAIL: A/b (0.00s)\n"},
		event{"fail", "p", "A/b", ""},
		event{"output", "p", "A", "--- FAIL: A (0.00s)\n"},
		event{"fail", "p", "A", ""},
		event{"output", "p", "", "FAIL\n"},
		event{"fail", "p", "", ""},
	)
	const want = "x.go:1: undefined: y\n    a_test.go:1: wrong\n    --- FAIL: A/b (0.00s)\n--- FAIL: A (0.00s)\nFAIL\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The output of a test that ended with a panic is printed.
func TestCrash(t *testing.T) {
	got := reported(
		t,
		event{"output", "p", "A", "panic: test timed out\n"},
		event{"output", "q", "B", "    b_test.go:1: still running\n"},
		event{"fail", "p", "", ""},
	)
	if got != "panic: test timed out\n" {
		t.Errorf("%q", got)
	}
}

// Lines that are not events are printed unchanged.
func TestOtherLines(t *testing.T) {
	var out strings.Builder
	if err := newReport(&out).read(strings.NewReader("go: no such package\n")); err != nil || out.String() != "go: no such package\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
