// Package lvmconfig finds out which thin tools LVM runs, here and in an initramfs, and how to make
// it run these.
//
// LVM has compiled-in paths for thin_check and the others, and settings that override them. We ask
// LVM itself (lvmconfig), because it reads several files and its defaults differ between builds.
// Each program is asked what it is: these tools say so below the version number that --version
// prints.
package lvmconfig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Mark is the start of the second line of --version --verbose in these tools, and in no others.
const Mark = "thinpool"

// tools lists the tools LVM may run. Older LVM has no setting for the last one.
var tools = []string{"thin_check", "thin_repair", "thin_dump", "thin_restore"}

// packaged is where packages install the links. The program may be in /sbin.
const packaged = "/usr/libexec/thinpool"

// A Program is what LVM runs as one of the tools.
type Program struct {
	Tool, Path string // Path is "" if the setting is empty: LVM then runs nothing
	Version    string // first line of -V; "" if the program cannot be run
	Ours       bool
	Absent     bool
}

// Section returns the part of lvmlocal.conf that makes LVM run the links in dir.
func Section(ctx context.Context, dir string) string {
	var s strings.Builder
	s.WriteString("# LVM runs thinpool's tools. All other settings keep their values.\nglobal {\n")
	for _, tool := range tools {
		line := fmt.Sprintf("%s = %s\n", setting(tool), strconv.Quote(filepath.Join(dir, tool)))
		if tool == "thin_restore" {
			if _, err := ask(ctx, "", "default", tool); err != nil {
				line = "# Newer LVM only: " + line
			}
		}
		s.WriteString("\t" + line)
	}
	s.WriteString("}\n")
	return s.String()
}

// Links finds the folder with links to this program. LVM needs links: its settings take a path, but
// no arguments.
func Links(program string) (string, error) {
	self, err := os.Stat(program)
	if err != nil {
		return "", err
	}
	beside := filepath.Dir(program)
	for _, dir := range []string{filepath.Join(filepath.Dir(beside), "libexec", "thinpool"), packaged, beside} {
		all := true
		for _, tool := range tools {
			link, err := os.Stat(filepath.Join(dir, tool))
			all = all && err == nil && os.SameFile(self, link)
		}
		if all {
			return dir, nil
		}
	}
	return "", fmt.Errorf("there are no links named %s to %s: make them beside it (ln -s), or install the tools (make install)",
		strings.Join(tools, ", "), program)
}

// Programs asks LVM which programs it runs.
func Programs(ctx context.Context) ([]Program, error) {
	var all []Program
	for _, tool := range tools {
		path, err := ask(ctx, "", "full", tool)
		switch {
		case err == nil:
			all = append(all, identify(ctx, tool, path, path))
		case tool != "thin_restore":
			return nil, err
		}
	}
	return all, nil
}

func setting(tool string) string { return tool + "_executable" }

// ask asks LVM for the path of a tool. kind is an lvmconfig type. folder holds LVM's configuration,
// if not /etc/lvm.
func ask(ctx context.Context, folder, kind, tool string) (string, error) {
	program, err := find("lvmconfig")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, "--typeconfig", kind, "global/"+setting(tool))
	if folder != "" {
		cmd.Env = append(os.Environ(), "LVM_SYSTEM_DIR="+folder)
	}
	var out, said head
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("lvmconfig global/%s: %w: %s", setting(tool), err, strings.TrimSpace(said.String()))
	}
	_, value, _ := strings.Cut(out.String(), "=")
	path, err := strconv.Unquote(strings.TrimSpace(value))
	if err != nil {
		return "", fmt.Errorf("lvmconfig global/%s printed %.200q, which is not a path", setting(tool), out.String())
	}
	return path, nil
}

// find finds a system program, whose folder may not be in a user's PATH.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s was not found: is it installed?", name)
	}
	return path, nil
}

// identify runs a program to find out what it is. Its argv[0] is the path by which LVM runs it: one
// binary may be several tools.
func identify(ctx context.Context, tool, path, program string) Program {
	p := Program{Tool: tool, Path: path}
	if path == "" {
		return p
	}
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
		p.Absent = true
		return p
	}
	p.Version, _ = lines(ctx, program, path, "-V")
	_, second := lines(ctx, program, path, "--version", "--verbose")
	p.Ours = strings.HasPrefix(second, Mark)
	return p
}

// lines runs a program and returns the first two lines it prints. The first of args is its name.
func lines(ctx context.Context, program string, args ...string) (first, second string) {
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = args
	var out head
	cmd.Stdout = &out
	if cmd.Run() != nil {
		return "", ""
	}
	first, rest, _ := strings.Cut(out.String(), "\n")
	second, _, _ = strings.Cut(rest, "\n")
	return first, second
}

// A head keeps the start of a program's output.
type head struct{ strings.Builder }

func (h *head) Write(p []byte) (int, error) {
	const most = 64 << 10
	h.Builder.Write(p[:min(len(p), most-h.Len())])
	return len(p), nil
}
