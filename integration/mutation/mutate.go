package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change to one place of a package.
type mutant struct {
	id   int
	file string // base name
	line int
	in   string // the function around it
	kind string // what is done to it
	text string // the source, on one line and shortened
}

// key names a mutant for survivors.txt, without its line number, which changes
// with every edit above it.
func (m mutant) key() string { return strings.Join([]string{m.file, m.in, m.kind, m.text}, "\t") }

// support is compiled into the package that is mutated: MUTANT says which of its
// mutants is alive in this process.
const support = `package %s

import (
	"os"
	"strconv"
)

var mutantID, _ = strconv.Atoi(os.Getenv("MUTANT"))

type mutantInteger interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

func mutantAdd[T mutantInteger](up, down int, v T) T {
	switch mutantID {
	case up:
		return v + 1
	case down:
		return v - 1
	}
	return v
}

func mutantPick[T any](id int, v, other T) T {
	if mutantID == id {
		return other
	}
	return v
}

func mutantText[T ~string](id int, v T) T { return mutantPick(id, v, v+"\x00") }

func mutantNil(id int, err error) error { return mutantPick(id, err, nil) }

func mutantAnd(id int, a bool, b func() bool) bool {
	if mutantID == id {
		return a || b()
	}
	return a && b()
}

func mutantOr(id int, a bool, b func() bool) bool {
	if mutantID == id {
		return a && b()
	}
	return a || b()
}
`

// file mutates one file. Every mutant is written into the same text, guarded by
// its number, so that a package is compiled once for all of them.
type file struct {
	fset    *token.FileSet
	info    *types.Info
	pkg     *types.Package
	tree    *ast.File
	source  []byte
	mutants *[]mutant // of the package; a mutant's number is its place, from 1

	function string
	compared map[ast.Expr]token.Token // operands of comparisons, the operator turned so that they stand behind it
	conds    map[ast.Expr]bool        // conditions, and operands of && and ||
	opening  map[int][]string         // text to insert at an offset: the outer expression's comes first,
	closing  map[int][]string         // where the inner one's comes first at its end
	erased   map[int]int              // operators to take out: offset and length
}

func (f *file) offset(p token.Pos) int { return f.fset.Position(p).Offset }

func (f *file) text(n ast.Node) string { return string(f.source[f.offset(n.Pos()):f.offset(n.End())]) }

// add records a mutant of the node and returns its number.
func (f *file) add(n ast.Node, kind string) int {
	text := strings.Join(strings.Fields(f.text(n)), " ")
	if len(text) > 70 {
		text = text[:70] + "..."
	}
	p := f.fset.Position(n.Pos())
	*f.mutants = append(*f.mutants, mutant{id: len(*f.mutants) + 1, file: filepath.Base(p.Filename), line: p.Line, in: f.function, kind: kind, text: text})
	return len(*f.mutants)
}

func (f *file) wrap(n ast.Node, before, after string) {
	f.opening[f.offset(n.Pos())] = append(f.opening[f.offset(n.Pos())], before)
	f.closing[f.offset(n.End())] = append(f.closing[f.offset(n.End())], after)
}

// mutate returns the text of the file with all its mutants.
func (f *file) mutate() string {
	f.compared, f.conds = map[ast.Expr]token.Token{}, map[ast.Expr]bool{}
	f.opening, f.closing, f.erased = map[int][]string{}, map[int][]string{}, map[int]int{}
	for _, d := range f.tree.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Body == nil {
				continue
			}
			f.function = d.Name.Name
			if d.Recv != nil {
				f.function = strings.TrimLeft(f.text(d.Recv.List[0].Type), "*") + "." + f.function
			}
			f.body(d.Type, d.Body)
			ast.Inspect(d.Body, f.visit)
		case *ast.GenDecl:
			if d.Tok == token.VAR {
				f.function = "var"
				ast.Inspect(d, f.visit)
			}
		}
	}
	var out strings.Builder
	for i := 0; i <= len(f.source); i++ {
		for _, s := range slices.Backward(f.closing[i]) {
			out.WriteString(s)
		}
		out.WriteString(strings.Join(f.opening[i], ""))
		i += f.erased[i]
		if i < len(f.source) {
			out.WriteByte(f.source[i])
		}
	}
	return out.String()
}

// body makes the function end in something, whatever return is taken away.
func (f *file) body(t *ast.FuncType, b *ast.BlockStmt) {
	if t.Results != nil {
		f.closing[f.offset(b.Rbrace)] = append(f.closing[f.offset(b.Rbrace)], `;panic("a return was deleted")`)
	}
}

// visit mutates a node; it is called for outer nodes first.
func (f *file) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.FuncLit:
		f.body(n.Type, n.Body)
	case *ast.GenDecl:
		return n.Tok == token.VAR
	case *ast.ArrayType:
		return false // its length must be constant
	case *ast.BlockStmt:
		f.statements(n.List)
	case *ast.CaseClause:
		f.statements(n.Body)
		f.labels(n)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			for _, c := range n.Body.List {
				for _, cond := range c.(*ast.CaseClause).List {
					f.conds[cond] = true
				}
			}
		}
	case *ast.IfStmt:
		f.conds[n.Cond] = true
	case *ast.ForStmt:
		f.conds[n.Cond] = true
		f.loop(n, n.Body)
	case *ast.RangeStmt:
		f.loop(n, n.Body)
	case *ast.ReturnStmt:
		return f.returned(n)
	case ast.Expr:
		return f.expression(n)
	}
	return true
}

func (f *file) loop(n ast.Node, b *ast.BlockStmt) {
	id := f.add(n, "skip the loop")
	at := f.offset(b.Lbrace) + 1
	f.opening[at] = append(f.opening[at], fmt.Sprintf("if mutantID == %d { break };", id))
}

// statements deletes statements; a block's own end is kept for last.
func (f *file) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok == token.DEFINE {
				continue
			}
		case *ast.ReturnStmt, *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt:
		case *ast.BranchStmt:
			if s.Tok == token.FALLTHROUGH {
				continue
			}
		default:
			continue
		}
		f.wrap(s, fmt.Sprintf("if mutantID != %d { ", f.add(s, "delete")), " }")
	}
}

// labels drops cases of constant text; numbers are changed as constants are.
func (f *file) labels(c *ast.CaseClause) {
	for _, label := range c.List {
		if v := f.info.Types[label].Value; v != nil && v.Kind() == constant.String {
			f.wrap(label, fmt.Sprintf("mutantText(%d, ", f.add(label, "drop case")), ")")
		}
	}
}

// returned makes a success of an error, and the opposite of a truth. What is
// returned beside an error is left alone.
func (f *file) returned(r *ast.ReturnStmt) bool {
	if len(r.Results) == 0 {
		return false
	}
	last := r.Results[len(r.Results)-1]
	tv := f.info.Types[last]
	switch {
	case tv.IsNil():
	case types.Identical(tv.Type, types.Universe.Lookup("error").Type()):
		f.wrap(last, fmt.Sprintf("mutantNil(%d, ", f.add(r, "no error")), ")")
		ast.Inspect(last, f.visit)
		return false
	case types.Identical(types.Default(tv.Type), types.Typ[types.Bool]):
		f.conds[last] = true
	}
	return true
}

var (
	boundary = map[token.Token]string{token.LSS: "||", token.GTR: "||", token.LEQ: "&& !", token.GEQ: "&& !"}
	turned   = map[token.Token]token.Token{token.LSS: token.GTR, token.GTR: token.LSS, token.LEQ: token.GEQ, token.GEQ: token.LEQ}
	opposite = map[token.Token]string{token.ADD: "-", token.SUB: "+", token.AND: "|", token.OR: "&", token.SHL: ">>", token.SHR: "<<"}
)

func (f *file) expression(e ast.Expr) bool {
	tv := f.info.Types[e]
	if f.conds[e] {
		f.condition(e)
	}
	if tv.Value != nil {
		f.constant(e, tv)
		return false
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		if f.conds[e] {
			delete(f.conds, e)
			f.conds[e.X] = true
		}
	case *ast.CallExpr:
		switch f.text(e.Fun) {
		case "fmt.Errorf", "errors.New", "fmt.Sprintf": // what people read
			return false
		case "make": // of a length and a capacity only the former matters
			if len(e.Args) == 3 {
				ast.Inspect(e.Args[1], f.visit)
			}
			return len(e.Args) == 2 && !isMap(f.info.Types[e].Type)
		}
	case *ast.CompositeLit:
		if _, ok := f.info.Types[e].Type.Underlying().(*types.Array); ok {
			return false
		}
	case *ast.KeyValueExpr:
		ast.Inspect(e.Value, f.visit)
		return false
	case *ast.BinaryExpr:
		f.binary(e, tv)
	}
	return true
}

// condition negates it, unless it is made of others.
func (f *file) condition(e ast.Expr) {
	switch x := e.(type) {
	case *ast.ParenExpr:
		return
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			return
		}
	}
	f.wrap(e, "((", fmt.Sprintf(") != (mutantID == %d))", f.add(e, "negate")))
}

func (f *file) binary(e *ast.BinaryExpr, tv types.TypeAndValue) {
	switch e.Op {
	case token.LAND, token.LOR:
		name, neutral := "mutantAnd", "|| mutantID =="
		if e.Op == token.LOR {
			name, neutral = "mutantOr", "&& mutantID !="
		}
		f.conds[e.X], f.conds[e.Y] = true, true
		swap := f.add(e, "swap "+e.Op.String())
		f.erased[f.offset(e.OpPos)] = 2
		f.closing[f.offset(e.OpPos)] = append(f.closing[f.offset(e.OpPos)], ", func() bool {")
		f.wrap(e, fmt.Sprintf("%s(%d, ", name, swap), "})")
		if x, ok := e.X.(*ast.BinaryExpr); !ok || x.Op != e.Op { // of a chain each is dropped on its own
			f.wrap(e.X, "((", fmt.Sprintf(") %s %d)", neutral, f.add(e.X, "drop operand")))
		}
		f.wrap(e.Y, "return ((", fmt.Sprintf(") %s %d)", neutral, f.add(e.Y, "drop operand")))
	case token.LSS, token.GTR, token.LEQ, token.GEQ:
		f.compared[e.X], f.compared[e.Y] = turned[e.Op], e.Op
		f.wrap(e, "((", fmt.Sprintf(") %s(mutantID == %d && %s == %s))", boundary[e.Op], f.add(e, "boundary"), f.text(e.X), f.text(e.Y)))
	case token.EQL, token.NEQ:
		f.compared[e.X], f.compared[e.Y] = e.Op, e.Op
	default:
		basic, ok := tv.Type.Underlying().(*types.Basic)
		if ok && basic.Info()&types.IsInteger != 0 && opposite[e.Op] != "" && harmless(e.X) && harmless(e.Y) {
			f.wrap(e, fmt.Sprintf("mutantPick(%d, ", f.add(e, "swap "+e.Op.String())), fmt.Sprintf(", %s %s %s)", f.text(e.X), opposite[e.Op], f.text(e.Y)))
		}
	}
}

func isMap(t types.Type) bool {
	_, ok := t.Underlying().(*types.Map)
	return ok
}

// harmless says that an expression may be evaluated twice.
func harmless(e ast.Expr) bool {
	fine := true
	ast.Inspect(e, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			name, _ := c.Fun.(*ast.Ident)
			fine = fine && name != nil && slices.Contains([]string{"len", "int", "int64", "uint64"}, name.Name)
		}
		return fine
	})
	return fine
}

// constant adds one to a whole number and takes one away; in a comparison only
// what moving its boundary does not do.
func (f *file) constant(e ast.Expr, tv types.TypeAndValue) {
	if tv.Value.Kind() != constant.Int {
		return
	}
	known := true
	name := types.TypeString(types.Default(tv.Type), func(p *types.Package) string {
		if p == f.pkg {
			return ""
		}
		for _, i := range f.tree.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); path == p.Path() {
				if i.Name != nil {
					return i.Name.Name
				}
				return p.Name()
			}
		}
		known = false
		return ""
	})
	if b, ok := tv.Type.Underlying().(*types.Basic); !known || !ok || b.Info()&types.IsInteger == 0 {
		return
	}
	up, down := -1, -1
	op := f.compared[e]
	if op != token.LSS && op != token.GEQ {
		up = f.add(e, "plus one")
	}
	if op == 0 || op == token.LSS || op == token.GEQ {
		down = f.add(e, "minus one")
	}
	f.wrap(e, fmt.Sprintf("mutantAdd[%s](%d, %d, ", name, up, down), ")")
}
