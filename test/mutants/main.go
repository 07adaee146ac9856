// Mutants changes one thing at a time in Go files, and prints the changes that the tests do not notice.
//
//	go run ./test/mutants [-sample N] [-seed N] [-tests "PACKAGE..."] FILE...
//
// A mutant is killed if a test of its package (or of -tests) fails, or does not end. Mutants prints
// the place of each survivor. It changes nothing in the source folder: the go command gets each mutant
// by -overlay. Mutants that do not compile do not count.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutants: ")
	var t trial
	flag.IntVar(&t.sample, "sample", 0, "how many mutants to try of each file, chosen at random; 0: all")
	flag.Uint64Var(&t.seed, "seed", 1, "of the choice")
	flag.IntVar(&t.parallel, "parallel", 1, "how many to try at once")
	flag.DurationVar(&t.timeout, "timeout", 2*time.Minute, "for the tests of one mutant")
	tests := flag.String("tests", "", "import paths of packages whose tests to run; default: that of the file")
	run := flag.String("run", "", "only tests that match, as for go test")
	flag.Parse()
	t.tests, t.run = strings.Fields(*tests), *run
	survivors := 0
	for _, file := range flag.Args() {
		n, err := t.file(file)
		if err != nil {
			log.Fatal(err)
		}
		survivors += n
	}
	if survivors > 0 {
		os.Exit(1)
	}
}

// A trial holds the settings for trying mutants.
type trial struct {
	sample, parallel int
	seed             uint64
	timeout          time.Duration
	tests            []string
	run              string
}

// An outcome is the result of trying a mutant.
type outcome int

const (
	killed outcome = iota
	survived
	invalid // it does not compile
)

// file tries the mutants of a file and returns how many survive.
func (t *trial) file(path string) (int, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return 0, err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	mutants, err := mutantsOf(path, source)
	if err != nil {
		return 0, err
	}
	if t.sample > 0 && t.sample < len(mutants) {
		rnd := rand.New(rand.NewPCG(t.seed, 0))
		rnd.Shuffle(len(mutants), func(i, j int) { mutants[i], mutants[j] = mutants[j], mutants[i] })
		mutants = mutants[:t.sample]
		slices.SortFunc(mutants, func(a, b mutant) int { return a.from - b.from })
	}
	if out, err := t.test(filepath.Dir(path), ""); err != nil {
		return 0, fmt.Errorf("the tests fail without a change: %s", out)
	}
	var mu sync.Mutex
	counts := map[outcome]int{}
	var group errgroup.Group
	group.SetLimit(max(t.parallel, 1))
	for _, m := range mutants {
		group.Go(func() error {
			o, err := t.try(path, m.apply(source))
			mu.Lock()
			defer mu.Unlock()
			if counts[o]++; o == survived {
				fmt.Printf("%s:%d: %s\n", relative(path), m.line, m.what)
			}
			return err
		})
	}
	err = group.Wait()
	if tried := counts[killed] + counts[survived]; tried > 0 {
		fmt.Printf("%s: %d of %d killed (%d %%)\n", relative(path), counts[killed], tried, 100*counts[killed]/tried)
	}
	return counts[survived], err
}

// try runs the tests with a mutant in place of the file at path.
func (t *trial) try(path string, mutated []byte) (outcome, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return invalid, err
	}
	defer os.RemoveAll(dir)
	file, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: file}})
	if err != nil {
		return invalid, err
	}
	if err := errors.Join(os.WriteFile(file, mutated, 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return invalid, err
	}
	out, err := t.test(filepath.Dir(path), overlay)
	switch {
	case err == nil:
		return survived, nil
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return invalid, nil
	}
	return killed, nil
}

// test runs the tests: those in dir, unless -tests names others.
func (t *trial) test(dir, overlay string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), t.timeout)
	defer cancel()
	args := []string{"test", "-short", "-failfast", "-count=1", "-vet=off"}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if t.run != "" {
		args = append(args, "-run", t.run)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, t.tests...)...)
	cmd.Dir = dir
	// The test binary is a child of the go command, and must end with it.
	inGroup(cmd)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func relative(path string) string {
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, path); err == nil {
			return rel
		}
	}
	return path
}
