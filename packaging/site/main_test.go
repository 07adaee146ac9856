package main

import (
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	got, err := markdown([]byte("# The `lvm-config`, now\n\n[there](docs/lvm.md#a-b), [file](docs/schema), [host](https://example.org/x.md)\n\n## Now\n\n## Now\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<h1 id="the-lvm-config-now">`, `href="docs/lvm.html#a-b"`, `href="docs/schema"`, `href="https://example.org/x.md"`, `<h2 id="now">`, `<h2 id="now-1">`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
}

func TestBroken(t *testing.T) {
	pages := map[string]string{
		"index.html":  `<h1 id="top"><a href="docs/a.html#part"><a href="#top"><a href="docs/schema"><a href="https://example.org/none">`,
		"docs/a.html": `<h2 id="part"><a href="../index.html"><a href="none.html"><a href="../index.html#none">`,
	}
	var got []string
	for _, err := range broken(pages, map[string][]byte{"docs/schema/x.json": nil}) {
		got = append(got, err.Error())
	}
	want := "docs/a.html: none.html leads nowhere; docs/a.html: ../index.html#none: there is no such heading"
	if strings.Join(got, "; ") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
