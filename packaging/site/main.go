// Command site converts all documents and man pages to HTML, in one folder that needs no server. It
// fails if a link between them is broken. Run it with "make site".
package main

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: site SOURCE FOLDER")
		os.Exit(2)
	}
	if err := build(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func build(source, out string) error {
	pages := map[string]string{} // HTML by path
	for _, pattern := range []string{"*.md", "docs/*.md", "man[1-8]/*.[1-8]"} {
		paths, err := filepath.Glob(filepath.Join(source, pattern))
		if err != nil || len(paths) == 0 {
			return fmt.Errorf("%s: no files (%v)", pattern, err)
		}
		for _, path := range paths {
			rel, err := filepath.Rel(source, path)
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			body := ""
			if strings.HasSuffix(rel, ".md") {
				body, err = markdown(text)
			} else {
				body, err = man(path)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", rel, err)
			}
			pages[pagePath(rel)] = page(rel, body)
		}
	}
	pages["index.html"] = pages["README.html"]
	files, err := others(source)
	if err != nil {
		return err
	}
	if err := errors.Join(broken(pages, files)...); err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	for path, text := range pages {
		files[path] = []byte(text)
	}
	for path, content := range files {
		path = filepath.Join(out, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%d pages, %d other files in %s\n", len(pages), len(files)-len(pages), out)
	return nil
}

// pagePath returns the path of a source's page: docs/lvm.html, man8/thin_check.8.html.
func pagePath(rel string) string { return strings.TrimSuffix(filepath.ToSlash(rel), ".md") + ".html" }

// others returns files that documents link to and that are not converted.
func others(source string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range []string{"LICENSE", "docs/schema"} {
		err := filepath.WalkDir(filepath.Join(source, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(source, path)
			if err != nil {
				return err
			}
			files[filepath.ToSlash(rel)], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// markdown converts a document to HTML. Links to documents become links to pages, and headings get
// the anchors that repository hosts use.
func markdown(text []byte) (string, error) {
	md := goldmark.New(goldmark.WithExtensions(extension.GFM))
	context := parser.NewContext(parser.WithIDs(&names{seen: map[string]int{}}))
	doc := md.Parser().Parse(reader(text), parser.WithContext(context))
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Link:
			if entering {
				n.Destination = []byte(toPage(string(n.Destination)))
			}
		case *ast.Heading:
			if entering {
				n.SetAttributeString("id", context.IDs().Generate(plain(n, text), n.Kind()))
			}
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = md.Renderer().Render(&out, text, doc)
	return out.String(), err
}

func toPage(link string) string {
	path, anchor, found := strings.Cut(link, "#")
	if strings.Contains(path, ":") || !strings.HasSuffix(path, ".md") {
		return link
	}
	if path = pagePath(path); found {
		path += "#" + anchor
	}
	return path
}

// man converts a man page to HTML. References become links to existing pages.
func man(path string) (string, error) {
	out, err := exec.Command("mandoc", "-T", "html", "-O", "fragment,man=../man%S/%N.%S.html", path).Output()
	if err != nil {
		return "", fmt.Errorf("mandoc: %w", err)
	}
	folder := filepath.Dir(filepath.Dir(path))
	return reference.ReplaceAllStringFunc(string(out), func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		if _, err := os.Stat(filepath.Join(folder, "man"+m[2], m[1]+"."+m[2])); err != nil {
			return ref
		}
		return fmt.Sprintf(`<a href="../man%s/%s.%s.html">%s</a>`, m[2], m[1], m[2], ref)
	}), nil
}

var reference = regexp.MustCompile(`<b>([a-z_]+)</b>\(([1-8])\)`)

// page returns a complete page.
func page(rel, body string) string {
	up := strings.Repeat("../", strings.Count(filepath.ToSlash(rel), "/"))
	var nav strings.Builder
	for _, link := range [][2]string{
		{"index.html", "thinpool"},
		{"docs/guide.html", "guide"},
		{"docs/recovery.html", "recovery"},
		{"docs/lvm.html", "LVM"},
		{"docs/faults.html", "faults"},
		{"man8/thin_tools.8.html", "manual pages"},
	} {
		fmt.Fprintf(&nav, "<a href=\"%s%s\">%s</a>\n", up, link[0], link[1])
	}
	return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>" +
		html.EscapeString(strings.TrimSuffix(filepath.Base(rel), ".md")) + " - thinpool</title>\n<style>\n" + style + "</style>\n</head>\n<body>\n<nav>\n" +
		nav.String() + "</nav>\n<main>\n" + body + "</main>\n</body>\n</html>\n"
}

const style = `body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 0 1rem; color: #222; background: #fff; }
nav { border-bottom: 1px solid #ccc; padding: .7rem 0; }
nav a { margin-right: 1rem; }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid #ccc; padding: .2rem .5rem; text-align: left; vertical-align: top; }
dd { margin-left: 2rem; }
table.head, table.foot { display: table; width: 100%; color: #666; }
table.head td, table.foot td { border: 0; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1b1b1b; } pre { background: #2a2a2a; } a { color: #8ab4f8; } }
`

var (
	target = regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	anchor = regexp.MustCompile(` id="([^"]*)"`)
)

// broken returns an error for each broken link. Links to other hosts are not checked.
func broken(pages map[string]string, files map[string][]byte) (wrong []error) {
	for _, from := range slices.Sorted(func(yield func(string) bool) {
		for path := range pages {
			if !yield(path) {
				return
			}
		}
	}) {
		for _, m := range target.FindAllStringSubmatch(pages[from], -1) {
			u, err := url.Parse(html.UnescapeString(m[1]))
			if err == nil && u.Scheme != "" {
				continue
			}
			to := from
			if err == nil && u.Path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(from), u.Path))
			}
			text, ok := pages[to]
			_, file := files[to]
			switch {
			case err != nil, !ok && !file && !isFolder(files, to):
				wrong = append(wrong, fmt.Errorf("%s: %s leads nowhere", from, m[1]))
			case ok && u.Fragment != "" && !slices.ContainsFunc(anchor.FindAllStringSubmatch(text, -1), func(a []string) bool { return a[1] == u.Fragment }):
				wrong = append(wrong, fmt.Errorf("%s: %s: there is no such heading", from, m[1]))
			}
		}
	}
	return wrong
}

func isFolder(files map[string][]byte, path string) bool {
	for name := range files {
		if strings.HasPrefix(name, path+"/") {
			return true
		}
	}
	return false
}
