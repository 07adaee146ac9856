package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// files holds the inputs and outputs for a shape.
type files struct {
	shape
	work   string
	blocks string // of the data device
	temps  []string
}

// files creates the missing inputs for a shape.
func (b *bench) files(s shape) (*files, error) {
	f := &files{shape: s, work: b.work, temps: []string{"out.bin", "o.zst", "page.html", "damaged.bin", "data", s.name + ".pack"}}
	xml, meta := f.path(s.name+".xml"), f.path(s.name+".bin")
	if _, err := os.Stat(xml); err != nil {
		if err := shell(f.path("genxml") + " -shape " + s.name + " >" + xml); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(meta); err != nil {
		if err := f.empty(meta); err != nil {
			return nil, err
		}
		if err := shell(b.peer + "/thin_restore -q -i " + xml + " -o " + meta); err != nil {
			return nil, err
		}
	}
	if err := shell("bin/thin_metadata_pack -f -i " + meta + " -o " + f.path(s.name+".pack")); err != nil {
		return nil, err
	}
	if err := errors.Join(f.damage(meta), f.empty(f.path("data"))); err != nil {
		return nil, err
	}
	blocks, err := output("sh", "-c", "bin/thin_dump --skip-mappings "+meta+` | sed -n 's/.*nr_data_blocks="\([0-9]*\)".*/\1/p'`)
	f.blocks = strings.TrimSpace(blocks)
	return f, err
}

func (f *files) path(name string) string { return filepath.Join(f.work, name) }

// empty creates a metadata device of zeros.
func (f *files) empty(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Truncate(path, f.bytes)
}

// damage copies the metadata and damages a leaf: thin_restore writes leaves first and then the blocks
// that point to them.
func (f *files) damage(meta string) error {
	damaged := f.path("damaged.bin")
	if err := shell("cp --sparse=always " + meta + " " + damaged); err != nil {
		return err
	}
	file, err := os.OpenFile(damaged, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(bytes.Repeat([]byte{0x5a}, 4096), 100*4096)
	return errors.Join(err, file.Close())
}

func (f *files) remove() {
	for _, name := range f.temps {
		_ = os.Remove(f.path(name))
	}
}

// expand replaces the words in capitals of a command.
func (f *files) expand(command, tools, peer string) string {
	regions := ""
	if strings.Contains(command, "REGIONS") {
		step := int(number(f.blocks)) / 100
		for i := range 100 {
			regions += fmt.Sprintf("--region %d..%d ", i*step, i*step+step/10)
		}
	}
	command = strings.NewReplacer(
		"PEER/", peer+"/", "WORK/", f.work+"/", "META", f.path(f.name+".bin"), "XML", f.path(f.name+".xml"),
		"PACK", f.path(f.name+".pack"), "DAMAGED", f.path("damaged.bin"), "OUT", f.path("out.bin"),
		"DATA", f.path("data"), "ZST", f.path("o.zst"), "HTML", f.path("page.html"), "BLOCKS", f.blocks, "REGIONS", regions,
	).Replace(command)
	if strings.HasPrefix(command, "thin_") {
		command = tools + "/" + command
	}
	return command
}

// compare runs both commands of a case in turn.
func (b *bench) compare(c benchCase, f *files) (row, error) {
	r := row{name: c.name, compared: c.peer != ""}
	commands := []string{f.expand(c.ours, "bin", b.peer)}
	switch c.peer {
	case "":
	case "=":
		commands = append(commands, f.expand(c.ours, b.peer, b.peer))
	default:
		commands = append(commands, f.expand(c.peer, b.peer, b.peer))
	}
	costs := make([][]cost, len(commands))
	for round := range b.rounds + 1 {
		for i, command := range commands {
			if c.output {
				if err := f.empty(f.path("out.bin")); err != nil {
					return r, err
				}
			}
			measure := timed
			if round == 0 { // to warm up
				measure = weighed
			}
			cost, err := measure(command)
			if err != nil {
				return r, err
			}
			costs[i] = append(costs[i], cost)
		}
	}
	r.ours = median(costs[0])
	if r.compared {
		r.peer = median(costs[1])
	}
	return r, nil
}

// median returns the median times of all rounds except the first, which measured the memory.
func median(costs []cost) cost {
	var walls, cpus []float64
	for _, c := range costs[1:] {
		walls, cpus = append(walls, c.wall), append(cpus, c.cpu)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return cost{walls[len(walls)/2], cpus[len(cpus)/2], costs[0].mib}
}

// timed runs a command and measures its times. A command without a pipe replaces the shell.
func timed(command string) (cost, error) {
	if !strings.Contains(command, "|") {
		command = "exec " + command
	}
	cmd := exec.Command("sh", "-c", command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	if err := failed(err, command, stderr.String()); err != nil {
		return cost{}, err
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return cost{wall: wall.Seconds(), cpu: cpu.Seconds()}, nil
}

// weighed runs a command and measures its peak memory. A small program starts the command, because
// a process inherits the peak of its parent.
func weighed(command string) (cost, error) {
	file, err := os.CreateTemp("", "weight")
	if err != nil {
		return cost{}, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	cmd := exec.Command("/usr/bin/time", "-q", "-o", file.Name(), "-f", "%M", "sh", "-c", command)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := failed(cmd.Run(), command, stderr.String()); err != nil {
		return cost{}, err
	}
	kib, err := os.ReadFile(file.Name())
	if err != nil {
		return cost{}, err
	}
	return cost{mib: number(string(kib)) / 1024}, nil
}

// failed returns the error of a command. Tools fail on damage, which counts like success.
func failed(err error, command, stderr string) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok && strings.Contains(command, "damaged") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, stderr)
	}
	return nil
}

func shell(command string) error {
	cmd := exec.Command("sh", "-c", command)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}
