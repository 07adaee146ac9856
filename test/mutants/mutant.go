package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
)

// A mutant is a replacement for the text between two offsets of a file.
type mutant struct {
	from, to int
	text     string
	line     int
	what     string
}

func (m mutant) apply(source []byte) []byte {
	mutated := append([]byte{}, source[:m.from]...)
	mutated = append(mutated, m.text...)
	return append(mutated, source[m.to:]...)
}

// operators lists the replacements of each operator.
var operators = map[token.Token][]string{
	token.LSS: {"<=", ">="}, token.LEQ: {"<", ">"}, token.GTR: {">=", "<="}, token.GEQ: {">", "<"},
	token.EQL: {"!="}, token.NEQ: {"=="}, token.LAND: {"||"}, token.LOR: {"&&"},
	token.ADD: {"-"}, token.SUB: {"+"}, token.MUL: {"+"}, token.QUO: {"*"}, token.REM: {"/"},
	token.AND: {"|"}, token.OR: {"&"}, token.XOR: {"|"}, token.AND_NOT: {"&"}, token.SHL: {">>"}, token.SHR: {"<<"},
	token.ADD_ASSIGN: {"-="}, token.SUB_ASSIGN: {"+="}, token.OR_ASSIGN: {"&="}, token.AND_ASSIGN: {"|="},
	token.INC: {"--"}, token.DEC: {"++"},
}

// mutantsOf returns all mutants of a file, in its order.
func mutantsOf(path string, source []byte) ([]mutant, error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	c := collector{files: files, source: source}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			ast.Inspect(fn.Body, c.node)
		}
	}
	return c.mutants, nil
}

type collector struct {
	files   *token.FileSet
	source  []byte
	mutants []mutant
}

func (c *collector) add(pos, end token.Pos, text string) {
	from, to := c.files.Position(pos), c.files.Position(end)
	old := string(c.source[from.Offset:to.Offset])
	const most = 60
	if len(old) > most {
		old = old[:most] + "..."
	}
	if text == "" {
		c.mutants = append(c.mutants, mutant{from.Offset, to.Offset, "", from.Line, fmt.Sprintf("without %q", old)})
		return
	}
	c.mutants = append(c.mutants, mutant{from.Offset, to.Offset, text, from.Line, fmt.Sprintf("%q instead of %q", text, old)})
}

func (c *collector) operator(pos token.Pos, op token.Token) {
	for _, other := range operators[op] {
		c.add(pos, pos+token.Pos(len(op.String())), other)
	}
}

func (c *collector) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		c.operator(n.OpPos, n.Op)
	case *ast.AssignStmt:
		c.operator(n.TokPos, n.Tok)
		if n.Tok == token.ASSIGN { // not :=, or names would be missing
			c.add(n.Pos(), n.End(), "")
		}
	case *ast.IncDecStmt:
		c.operator(n.TokPos, n.Tok)
	case *ast.ExprStmt:
		c.add(n.Pos(), n.End(), "")
	case *ast.BranchStmt:
		switch {
		case n.Label != nil:
		case n.Tok == token.BREAK:
			c.add(n.Pos(), n.End(), "continue")
		case n.Tok == token.CONTINUE:
			c.add(n.Pos(), n.End(), "break")
		}
	case *ast.IfStmt:
		c.condition(n.Cond)
	case *ast.CaseClause:
		// A case that never applies. Without its type, it would not always compile.
		for _, e := range n.List {
			if b, ok := e.(*ast.BinaryExpr); ok {
				c.add(b.Pos(), b.End(), "false && ("+string(c.source[c.offset(b.Pos()):c.offset(b.End())])+")")
			}
		}
	case *ast.BasicLit:
		if v, err := strconv.ParseUint(n.Value, 0, 63); n.Kind == token.INT && err == nil {
			c.add(n.Pos(), n.End(), strconv.FormatUint(v+1, 10))
		}
	}
	return true
}

// condition replaces a condition by true and by false.
func (c *collector) condition(e ast.Expr) {
	text := string(c.source[c.offset(e.Pos()):c.offset(e.End())])
	c.add(e.Pos(), e.End(), "true || ("+text+")")
	c.add(e.Pos(), e.End(), "false && ("+text+")")
}

func (c *collector) offset(pos token.Pos) int { return c.files.Position(pos).Offset }
