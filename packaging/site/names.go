package main

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

func reader(source []byte) text.Reader { return text.NewReader(source) }

// plain returns the text of a node without markup.
func plain(n ast.Node, source []byte) []byte {
	var all []byte
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			all = append(all, c.Segment.Value(source)...)
		default:
			all = append(all, plain(c, source)...)
		}
	}
	return all
}

// names generates the anchors of headings: lower case, dashes for spaces, no punctuation. Repeated
// ones get a number.
type names struct{ seen map[string]int }

func (n *names) Generate(value []byte, _ ast.NodeKind) []byte {
	name := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		case r == ' ':
			return '-'
		}
		return -1
	}, strings.TrimSpace(string(value)))
	times := n.seen[name]
	if n.seen[name]++; times > 0 {
		name = fmt.Sprintf("%s-%d", name, times)
	}
	return []byte(name)
}

func (n *names) Put([]byte) {}
