// Command lab damages metadata for a given time, judges the tools, and prints a table. It exits
// with 1 if a requirement was not met.
//
//	go run ./test/damage/cmd -for 10m -peers
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"thinpool/test/damage"
	"thinpool/test/shared"
)

func main() {
	ok, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run() (ok bool, err error) {
	var (
		limit  = flag.Duration("for", time.Minute, "how `long` to go on")
		image  = flag.String("image", "", "only these images, `NAME,...`")
		kind   = flag.String("kind", "", "only this `kind` of damage, as in the table")
		seed   = flag.Uint64("seed", 1, "what to damage first")
		cases  = flag.Int("cases", 0, "at most so many of each image")
		number = flag.Int("case", -1, "only the case of this `number`; needs -image")
		output = flag.String("o", "", "with -case: write the damaged image to this `file` and stop")
		peers  = flag.Bool("peers", false, "compare with other implementations of thin_repair")
		beside = flag.String("shared", shared.Dir(), "`folder` that has more images, the independent checker and a peer")
		most   = flag.Int("show", 20, "print at most so many demands that were not met")
	)
	flag.Parse()
	opt := damage.Options{Seed: *seed, Cases: *cases, Kind: *kind, Case: *number, Workers: runtime.GOMAXPROCS(0), VerifyEvery: 50}
	var names []string
	if *image != "" {
		names = strings.Split(*image, ",")
	}
	if opt.Images, err = damage.Images(filepath.Join(*beside, "kernel", "corpus"), names...); err != nil {
		return false, err
	}
	if *output != "" {
		c := opt.Images[0].Case(*seed, *number)
		if c == nil {
			return false, fmt.Errorf("no such case")
		}
		return true, os.WriteFile(*output, c.Contents(), 0o644)
	}
	opt.Verifier = filepath.Join(*beside, "design", "verify_format.py")
	if _, err := os.Stat(opt.Verifier); err != nil {
		fmt.Fprintln(os.Stderr, "lab: without the independent checker:", err)
		opt.Verifier = ""
	}
	if *peers {
		var why []string
		if opt.Peers, why = damage.Peers(filepath.Join(*beside, "bench", "get-peer")); len(why) > 0 {
			fmt.Fprintln(os.Stderr, "lab:", strings.Join(why, "; "))
		}
	}
	shown := 0
	opt.Wrong = func(c *damage.Case, wrong string) {
		if shown++; shown <= *most {
			fmt.Fprintf(os.Stderr, "%s\n    %s\n", c, wrong)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	table, err := damage.Run(ctx, opt)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(os.Stderr, "%d cases in which a demand was not met, %d demands\n", table.Failed, shown)
	return table.Failed == 0, table.Markdown(os.Stdout)
}
