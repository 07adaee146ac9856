package command_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"thinpool/fixtures"
	"thinpool/internal/cli"
	"thinpool/internal/command"
)

// The scripts run the tools as they are: as processes.
func TestMain(m *testing.M) {
	commands := map[string]func(){"thin_tools": func() { cli.MultiMain(command.Tools()) }}
	for _, t := range command.Tools() {
		commands[t.Name] = func() { cli.Main(t) }
	}
	testscript.Main(m, commands)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0") // or every process takes a second with -race
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fixture": fixture,
			"file":    file,
		},
	})
}

// fixture NAME FILE writes an image that a kernel made.
func fixture(ts *testscript.TestScript, _ bool, args []string) {
	content, err := fixtures.Image(args[0])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), content, 0o644))
}

// file NAME SIZE makes a file of zeroes; "! file GLOB" says that there is none.
func file(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		if found, _ := filepath.Glob(ts.MkAbs(args[0])); len(found) > 0 {
			ts.Fatalf("there is %v", found)
		}
		return
	}
	var size cli.Size
	ts.Check(size.UnmarshalText([]byte(args[1])))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), make([]byte, size.Bytes), 0o644))
}
