package entropy_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file keeps the rules of docs/ARCHITECTURE.md and CONTRIBUTING.md that a
// machine can keep. Each violation names file:line and the rule.

const modulePath = "github.com/entropy-fabric/entropy"

// owners says in which folder a heavy dependency may be imported.
var owners = map[string][]string{
	"github.com/minio":                    {"cluster/executor/builtin/s3"},
	"github.com/asynkron/protoactor-go":   {"actors/es"},
	"github.com/hashicorp/memberlist":     {"cluster"},
	"github.com/betamos/zeroconf":         {"cluster/discovery"},
	"github.com/nats-io":                  {"cluster/bus", "cluster/executor"},
	"github.com/prometheus/client_golang": {"cluster/telemetry"},
	"github.com/ClickHouse":               {"persistence/ledger/clickhouse"},
	"github.com/ebitengine/purego":        {"persistence/ledger/clickhouse/chdbtest"}, // loads the engine that the tests ask
	"github.com/mattn/go-sqlite3":         {"persistence"},
	"github.com/neo4j/neo4j-go-driver":    {"persistence/graphdb"},
	"github.com/spf13":                    {"cmd"},
	"github.com/expr-lang/expr":           {"actors/analyzer/rule"},
}

// banned are imports that no folder may have, and why.
var banned = map[string]string{
	"github.com/asynkron/protoactor-go/remote":      "it is unauthenticated, and workers are not dialable; see docs/adr",
	"github.com/asynkron/protoactor-go/cluster":     "membership is memberlist's, placement the scheduler's; see docs/adr",
	"github.com/asynkron/protoactor-go/persistence": "its provider returns no error; see docs/adr",
	"k8s.io": "the fabric runs without Kubernetes",
}

// strangers never import each other: they meet through interfaces that the
// consumer declares, and are wired by fabric, cmd and the examples.
var strangers = []string{"actors", "cluster", "persistence"}

// wiring may import anything of the module, and of the rest nothing imports it.
var wiring = []string{"fabric", "cmd", "examples"}

// impure are the files of the root that are a client rather than the pure core;
// id.go makes identifiers, which takes a clock and a source of randomness.
var impure = regexp.MustCompile(`^(client(_\w+)?|handle|id)\.go$`)

// pureElsewhere are the pure files outside of the root.
var pureElsewhere = regexp.MustCompile(`^actors/(scheduler/planner/\w+|fleet/view\w*|analyzer/([a-z]+/)?\w+|action/policy\w*)\.go$`)

// runs are the files among them that run what is pure beside them.
var runs = regexp.MustCompile(`^actors/analyzer/live/(watcher|config|query)\.go$`)

// A pure file takes time as an argument and touches nothing outside.
var (
	impureImports = []string{"os", "os/exec", "os/signal", "syscall", "net", "net/http", "io/fs", "math/rand", "math/rand/v2",
		"crypto/rand", "log", "log/slog", "path/filepath", "database/sql", "runtime"}
	impureTime = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
)

const (
	maxFileLines     = 500
	maxTestFileLines = 800
	maxFuncLines     = 70
)

// source is one Go file of the module.
type source struct {
	name      string // slash-separated, from the root
	dir       string // "." for the root
	text      string
	test      bool
	generated bool
	file      *ast.File
}

// tidy is the module as parsed, and what is wrong with it.
type tidy struct {
	fset    *token.FileSet
	sources []*source
	wrong   []string
}

func (y *tidy) report(pos token.Pos, format string, args ...any) {
	p := y.fset.Position(pos)
	y.wrong = append(y.wrong, fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...)))
}

// parse reads the Go files below the current directory.
func (y *tidy) parse(t *testing.T) {
	t.Helper()
	y.fset = token.NewFileSet()
	eachFile(t, func(name string, text string) {
		if path.Ext(name) != ".go" {
			return
		}
		f, err := parser.ParseFile(y.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		y.sources = append(y.sources, &source{name: name, dir: path.Dir(name), text: text, file: f,
			test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(f)})
	})
	if len(y.sources) < 30 {
		t.Fatalf("only %d Go files were found: the rules are not being checked", len(y.sources))
	}
}

// eachFile calls f for every text file that people write.
func eachFile(t *testing.T, f func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && !slices.Contains([]string{".", ".ci", ".github", ".golangci.yml", ".gitignore"}, d.Name())
		if d.IsDir() && (hidden || d.Name() == "bin" || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		text := slices.Contains([]string{".go", ".md", ".sh", ".yml", ".yaml", ".toml", ".service", ".sql", ".html", ".css", ".js", ""}, path.Ext(name))
		if d.IsDir() || hidden || !text || d.Name() == "LICENSE" {
			return nil
		}
		b, err := os.ReadFile(name)
		if err == nil {
			f(filepath.ToSlash(name), string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (y *tidy) done(t *testing.T) {
	t.Helper()
	slices.Sort(y.wrong)
	for _, w := range y.wrong {
		t.Error(w)
	}
}

// proves the layers of docs/ARCHITECTURE.md.
func TestLayers(t *testing.T) {
	y := new(tidy)
	y.parse(t)
	for _, s := range y.sources {
		for _, imp := range s.file.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			y.checkImport(s, imp, p)
		}
	}
	y.done(t)
}

func (y *tidy) checkImport(s *source, imp *ast.ImportSpec, p string) {
	target, own := strings.CutPrefix(p, modulePath)
	target = strings.TrimPrefix(target, "/")
	external := strings.Contains(strings.Split(p, "/")[0], ".") && !own
	top, _, _ := strings.Cut(s.dir, "/")
	targetTop, _, _ := strings.Cut(target, "/")
	if !s.test {
		switch {
		case s.dir == "." && (external || own):
			y.report(imp.Pos(), "the root imports the standard library only, not %s", p)
		case own && slices.Contains(wiring, targetTop) && !slices.Contains(wiring, top):
			y.report(imp.Pos(), "nothing imports %s except fabric, cmd and examples", targetTop)
		case own && targetTop == "entropytest":
			y.report(imp.Pos(), "entropytest is for tests only")
		}
	}
	// Tests of one layer may not lean on another either, or the layers are not separate.
	if own && slices.Contains(strangers, top) && slices.Contains(strangers, targetTop) && top != targetTop {
		y.report(imp.Pos(), "%s does not import %s: declare a small interface where it is used", top, targetTop)
	}
	if !external {
		return
	}
	for dep, why := range banned {
		if within(p, dep) {
			y.report(imp.Pos(), "%s is not used here: %s", p, why)
		}
	}
	for dep, folders := range owners {
		if within(p, dep) && !slices.ContainsFunc(folders, func(f string) bool { return within(s.dir, f) }) {
			y.report(imp.Pos(), "%s is imported only in %v", dep, folders)
		}
	}
}

func within(dir, folder string) bool { return dir == folder || strings.HasPrefix(dir, folder+"/") }

// proves that pure files call no clock, no randomness, no input or output.
func TestPureFiles(t *testing.T) {
	y := new(tidy)
	y.parse(t)
	for _, s := range y.sources {
		if s.test || !(s.dir == "." && !impure.MatchString(s.name) || pureElsewhere.MatchString(s.name) && !runs.MatchString(s.name)) {
			continue
		}
		for _, imp := range s.file.Imports {
			if p, _ := strconv.Unquote(imp.Path.Value); slices.Contains(impureImports, p) {
				y.report(imp.Pos(), "a pure file does not import %s", p)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				y.report(n.Pos(), "a pure file starts no goroutine")
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(impureTime, n.Sel.Name) {
					y.report(n.Pos(), "a pure file does not call time.%s: time is an argument", n.Sel.Name)
				}
			}
			return true
		})
	}
	y.done(t)
}

// proves that every package and every exported name is documented.
func TestDocumented(t *testing.T) {
	y := new(tidy)
	y.parse(t)
	documented, first := map[string]bool{}, map[string]*source{}
	for _, s := range y.sources {
		if s.test {
			continue
		}
		if first[s.dir] == nil {
			first[s.dir] = s
		}
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
		if s.generated {
			continue
		}
		for _, d := range s.file.Decls {
			y.checkDoc(d)
		}
	}
	for dir, s := range first {
		if !documented[dir] {
			y.report(s.file.Package, "package %s has no doc comment", s.file.Name.Name)
		}
	}
	y.done(t)
}

func (y *tidy) checkDoc(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) {
			y.report(d.Pos(), "%s has no doc comment", d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
					y.report(spec.Pos(), "%s has no doc comment", spec.Name.Name)
				}
			case *ast.ValueSpec:
				if spec.Names[0].IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
					y.report(spec.Pos(), "%s has no doc comment", spec.Names[0].Name)
				}
			}
		}
	}
}

// exportedReceiver reports whether a function is seen outside: it has no
// receiver, or one of an exported type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// proves that files and functions fit a reader's head, and that tests wait on
// signals.
func TestSizeAndHabits(t *testing.T) {
	y := new(tidy)
	y.parse(t)
	for _, s := range y.sources {
		if s.generated {
			continue
		}
		limit := maxFileLines
		if s.test {
			limit = maxTestFileLines
		}
		if n := strings.Count(s.text, "\n"); n > limit {
			y.report(s.file.Package, "the file has %d lines, at most %d are allowed", n, limit)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				lines := y.fset.Position(n.End()).Line - y.fset.Position(n.Pos()).Line + 1
				if !s.test && lines > maxFuncLines {
					y.report(n.Pos(), "%s has %d lines, at most %d are allowed", n.Name.Name, lines, maxFuncLines)
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && s.test && x.Name == "time" && n.Sel.Name == "Sleep" {
					y.report(n.Pos(), "a test does not sleep: wait on a signal, or poll with a deadline")
				}
			}
			return true
		})
	}
	y.done(t)
}

// The words are put together here so that this file does not hold them.
var (
	unfinished = regexp.MustCompile(`\b(` + "TO" + `DO|` + "FIX" + `ME|` + "X" + `XX)\b`)
	local      = regexp.MustCompile("(^|[\\s\"'`(=:])/(" + "wo" + `rk|` + "ro" + `ot)/\S`)
	registry   = regexp.MustCompile("proxy" + `\.golang\.org|` + "registry" + `\.npmjs\.org|` + "py" + `pi\.org`)
	british    = regexp.MustCompile(`\b[Cc]anc` + `ell(ed|ing)\b`)
)

// proves that nothing is left unfinished, and that nothing depends on the
// machine it was written on.
func TestWords(t *testing.T) {
	eachFile(t, func(name, text string) {
		for i, line := range strings.Split(text, "\n") {
			switch {
			case unfinished.MatchString(line):
				t.Errorf("%s:%d: %s: finish it, or open an issue", name, i+1, unfinished.FindString(line))
			case local.MatchString(line):
				t.Errorf("%s:%d: a path of one machine:%s", name, i+1, local.FindString(line))
			case registry.MatchString(line):
				t.Errorf("%s:%d: %s: leave the choice of registry to the reader's settings", name, i+1, registry.FindString(line))
			case british.MatchString(line) && path.Ext(name) == ".go":
				t.Errorf("%s:%d: %s: canceled and canceling have one l here", name, i+1, british.FindString(line))
			}
		}
	})
}
