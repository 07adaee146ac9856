package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// An event is a line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// A test is a test of a package. The name is "" for output of the package itself.
type test struct{ pkg, name string }

// report prints like go test without -v: failures, and one line per package.
type report struct {
	w       io.Writer
	said    map[test]*strings.Builder // output of running tests
	skipped map[string]int            // number of tests by reason
}

func newReport(w io.Writer) *report {
	return &report{w, map[test]*strings.Builder{}, map[string]int{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(r.w, "%s", line) // output of go test itself
			} else {
				r.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// progress matches lines that go test prints only with -v.
var progress = regexp.MustCompile(`^=== (RUN|PAUSE|CONT|NAME) |^PASS\n$`)

func (r *report) add(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "output":
		switch {
		case progress.MatchString(e.Output):
		case e.Test == "":
			fmt.Fprint(r.w, e.Output)
		default:
			if r.said[t] == nil {
				r.said[t] = new(strings.Builder)
			}
			r.said[t].WriteString(e.Output)
		}
	case "pass", "skip":
		if e.Action == "skip" && e.Test != "" {
			r.skipped[reason(r.text(t))]++
		}
		delete(r.said, t)
	case "fail":
		if e.Test == "" {
			r.unfinished(e.Package)
		}
		fmt.Fprint(r.w, r.text(t))
		delete(r.said, t)
	}
}

func (r *report) text(t test) string {
	if s := r.said[t]; s != nil {
		return s.String()
	}
	return ""
}

// unfinished prints the output of tests that ended with a crash of their package.
func (r *report) unfinished(pkg string) {
	for _, t := range slices.SortedFunc(maps.Keys(r.said), func(a, b test) int { return cmp.Compare(a.name, b.name) }) {
		if t.pkg == pkg {
			fmt.Fprint(r.w, r.text(t))
			delete(r.said, t)
		}
	}
}

// remark matches a line that a test logs: location and text.
var remark = regexp.MustCompile(`(?m)^ *\S+\.go:\d+: (.*)$`)

// reason returns the last line that a skipped test logged.
func reason(text string) string {
	all := remark.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return "no reason"
	}
	return all[len(all)-1][1]
}

func (r *report) printSkips() {
	if len(r.skipped) == 0 {
		return
	}
	fmt.Fprintln(r.w, "\nskipped:")
	for _, why := range slices.SortedFunc(maps.Keys(r.skipped), func(a, b string) int {
		return cmp.Or(r.skipped[b]-r.skipped[a], cmp.Compare(a, b))
	}) {
		fmt.Fprintf(r.w, "%5d  %s\n", r.skipped[why], why)
	}
}
