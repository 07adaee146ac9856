// Bench compares the tools with the Rust thin-provisioning-tools 1.1.0, the peer, as whole
// processes, and prints a table. Peer, baseline and shapes come from an optional folder beside the
// repository; without it there is nothing to compare with.
//
//	go run ./bench [-rounds N] [-work FOLDER] [-only TEXT] [SHAPE]...
//
// A speedup is the peer's time divided by ours. The peer's check and list never end in less than
// half a second because they wait, so the table has a speedup in wall time, one in processor time,
// and the smaller of the two, which counts. Keep the machine idle meanwhile.
package main

import (
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The folder beside the repository.
const shared = "../shared/bench"

// A shape is metadata with certain properties.
type shape struct {
	name  string
	bytes int64 // of the metadata device
}

var shapes = []shape{{"S", 16 << 20}, {"M", 64 << 20}, {"SH", 256 << 20}, {"L", 640 << 20}, {"XL", 2 << 30}}

// A bench runs commands on shapes.
type bench struct {
	rounds int
	work   string // folder in memory
	peer   string // folder of the peer's tools
	only   string // run only cases with this text in their names
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	var b bench
	flag.IntVar(&b.rounds, "rounds", 3, "rounds of each case, after one to warm up")
	flag.StringVar(&b.work, "work", "/dev/shm/thinpool-bench", "a folder in memory with 8 GB to spare")
	flag.StringVar(&b.only, "only", "", "only cases whose name has this text")
	flag.Parse()
	if err := b.run(flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run(names []string) error {
	if _, err := os.Stat(shared); err != nil {
		return fmt.Errorf("there is no peer and no shape to compare with: %w", err)
	}
	peer, err := output(shared + "/get-peer")
	if err != nil {
		return err
	}
	b.peer = strings.TrimSpace(peer)
	for _, part := range []string{"genxml", "floor"} {
		if err := b.build(part); err != nil {
			return err
		}
	}
	fmt.Println("| shape | case | ours s | peer s | ours CPU s | peer CPU s | speedup | ours MiB | peer MiB |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	var sum summary
	for _, s := range shapes {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		if err := b.shape(s, &sum); err != nil {
			return err
		}
	}
	sum.print()
	return nil
}

// build builds a program from the shared folder, which may be read-only.
func (b *bench) build(part string) error {
	program := filepath.Join(b.work, part)
	if _, err := os.Stat(program); err == nil {
		return nil
	}
	source := program + ".src"
	if err := os.RemoveAll(source); err != nil {
		return err
	}
	if err := os.CopyFS(source, os.DirFS(filepath.Join(shared, part))); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Dir, cmd.Stderr = source, os.Stderr
	return cmd.Run()
}

func (b *bench) shape(s shape, sum *summary) error {
	f, err := b.files(s)
	if err != nil {
		return err
	}
	defer f.remove()
	for _, c := range cases {
		if !strings.Contains(c.name, b.only) || slices.Contains(c.not, s.name) {
			continue
		}
		row, err := b.compare(c, f)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", s.name, c.name, err)
		}
		row.print(s.name)
		if !c.baseline {
			sum.add(row)
		}
	}
	return nil
}

// A row is the cost of a case.
type row struct {
	name       string
	ours, peer cost
	compared   bool // the peer can do it
}

// A cost is the cost of a command: medians over the rounds.
type cost struct{ wall, cpu, mib float64 }

// speedup returns the smaller of the speedups in wall time and in processor time.
func (r row) speedup() float64 {
	return min(r.peer.wall/r.ours.wall, r.peer.cpu/r.ours.cpu)
}

func (r row) print(shape string) {
	if !r.compared {
		fmt.Printf("| %s | %s | %.3f | - | %.3f | - | - | %.1f | - |\n", shape, r.name, r.ours.wall, r.ours.cpu, r.ours.mib)
		return
	}
	fmt.Printf("| %s | %s | %.3f | %.3f | %.3f | %.3f | %.1f | %.1f | %.1f |\n", shape, r.name,
		r.ours.wall, r.peer.wall, r.ours.cpu, r.peer.cpu, r.speedup(), r.ours.mib, r.peer.mib)
}

// A summary is the total of all rows.
type summary struct {
	cells        int
	logs         float64  // sum of the logarithms of the speedups
	slower, more []string // slower than the peer; more than 1.3 times its memory plus 4 MiB
}

func (s *summary) add(r row) {
	if !r.compared {
		return
	}
	s.cells++
	s.logs += math.Log(r.speedup())
	if r.speedup() < 1 {
		s.slower = append(s.slower, r.name)
	}
	if r.ours.mib > 1.3*r.peer.mib+4 {
		s.more = append(s.more, r.name)
	}
}

func (s *summary) print() {
	if s.cells == 0 {
		return
	}
	fmt.Printf("\nGeometric mean of %d speedups: %.2f.\n", s.cells, math.Exp(s.logs/float64(s.cells)))
	fmt.Printf("Slower than the peer: %d %v.\n", len(s.slower), s.slower)
	fmt.Printf("More than 1.3 times the peer's memory and 4 MiB: %d %v.\n", len(s.more), s.more)
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return string(out), err
}

func number(text string) float64 {
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		log.Fatal(err)
	}
	return n
}
