// Command collect writes the licences of thinpool, of Go and of all modules linked into the tools.
// Run it with "make licenses".
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const file = "internal/licenses/THIRD_PARTY_LICENSES"

func main() {
	text, err := collect(context.Background(), ".")
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "collect:", err)
		os.Exit(1)
	}
}

// A part is something with a licence of its own.
type part struct{ name, dir string }

// errAbsent means that a module is not in the module cache.
var errAbsent = errors.New("is not in the module cache: run go mod download")

// collect returns the licence text for the repository in root.
func collect(ctx context.Context, root string) (string, error) {
	parts, err := linked(ctx, root)
	if err != nil {
		return "", err
	}
	// A text shared by several parts appears once, below all their names.
	var texts []string
	names := map[string][]string{}
	for _, p := range parts {
		found, err := licenseFiles(p.dir)
		if err != nil {
			return "", fmt.Errorf("%s: %w", p.name, err)
		}
		for _, path := range found {
			content, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			text := strings.TrimSpace(strings.ReplaceAll(string(content), "\r\n", "\n")) + "\n"
			if names[text] == nil {
				texts = append(texts, text)
			}
			names[text] = append(names[text], p.name)
		}
	}
	var s strings.Builder
	s.WriteString("The licences of thinpool and of what is linked into its tools. Made by make licenses.\n")
	for _, text := range texts {
		rule := strings.Repeat("=", 78)
		fmt.Fprintf(&s, "\n%s\n%s\n%s\n\n%s", rule, strings.Join(names[text], "\n"), rule, text)
	}
	return s.String(), nil
}

// binaries maps each module with binaries to their packages.
var binaries = map[string]string{".": "./cmd/...", "cmd/thin_explore": "."}

// linked returns the repository itself, Go, and the modules that the binaries use on any
// architecture we build packages for.
func linked(ctx context.Context, root string) ([]part, error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	var modules []part
	for _, arch := range []string{"amd64", "arm64", "riscv64", "s390x"} {
		for dir, packages := range binaries {
			more, err := linkedInto(ctx, filepath.Join(root, dir), packages, arch)
			if err != nil {
				return nil, err
			}
			modules = append(modules, more...)
		}
	}
	slices.SortFunc(modules, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return append([]part{{"thinpool", root}, {"Go, its run time and its standard library", strings.TrimSpace(string(goroot))}}, slices.Compact(modules)...), nil
}

// linkedInto returns the modules of others that packages use on one architecture.
func linkedInto(ctx context.Context, dir, packages, arch string) ([]part, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Module", packages)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var modules []part
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg struct {
			Module *struct {
				Path, Version, Dir string
				Main               bool
				Replace            *struct{ Path string }
			}
		}
		err := d.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return modules, nil
		}
		if err != nil {
			return nil, err
		}
		if m := pkg.Module; m != nil && !m.Main && m.Replace == nil {
			modules = append(modules, part{m.Path + " " + m.Version, m.Dir})
		}
	}
}

// licenseFiles returns the files of a folder that must accompany a binary. A PATENTS file grants
// more.
func licenseFiles(dir string) ([]string, error) {
	if dir == "" {
		return nil, errAbsent
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		for _, begin := range []string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"} {
			if strings.HasPrefix(name, begin) && !e.IsDir() {
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New("there is no file with a licence")
	}
	return found, nil
}
