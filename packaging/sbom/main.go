// Command sbom prints a bill of materials (CycloneDX JSON) of a binary: the modules recorded in it
// by Go, with the checksums that the module cache verifies. The same binary and date give the same
// bytes.
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom VERSION BINARY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// The parts of CycloneDX 1.5 used here.
type (
	bom struct {
		Format       string       `json:"bomFormat"`
		Spec         string       `json:"specVersion"`
		Serial       string       `json:"serialNumber"`
		Version      int          `json:"version"`
		Metadata     metadata     `json:"metadata"`
		Components   []component  `json:"components"`
		Dependencies []dependency `json:"dependencies"`
	}
	metadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Ref        string     `json:"bom-ref"`
		Type       string     `json:"type"`
		Name       string     `json:"name"`
		Version    string     `json:"version"`
		Hashes     []hash     `json:"hashes,omitempty"`
		Licenses   []license  `json:"licenses,omitempty"`
		PURL       string     `json:"purl,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	hash struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	}
	license struct {
		License struct {
			ID string `json:"id"`
		} `json:"license"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	dependency struct {
		Ref       string   `json:"ref"`
		DependsOn []string `json:"dependsOn,omitempty"`
	}
)

// licenses lists the licences of everything linked in. A missing module stops the build, so that a
// person checks it.
var licenses = map[string][]string{
	"thinpool":                              {"MIT"},
	"std":                                   {"BSD-3-Clause"},
	"charm.land/bubbletea/v2":               {"MIT"},
	"charm.land/lipgloss/v2":                {"MIT"},
	"github.com/alecthomas/kong":            {"MIT"},
	"github.com/charmbracelet/colorprofile": {"MIT"},
	"github.com/charmbracelet/ultraviolet":  {"MIT"},
	"github.com/charmbracelet/x/ansi":       {"MIT"},
	"github.com/charmbracelet/x/term":       {"MIT"},
	"github.com/charmbracelet/x/termios":    {"MIT"},
	"github.com/charmbracelet/x/windows":    {"MIT"},
	"github.com/clipperhouse/displaywidth":  {"MIT"},
	"github.com/clipperhouse/uax29/v2":      {"MIT"},
	"github.com/lucasb-eyer/go-colorful":    {"MIT"},
	"github.com/mattn/go-runewidth":         {"MIT"},
	"github.com/muesli/cancelreader":        {"MIT"},
	"github.com/rivo/uniseg":                {"MIT"},
	"github.com/xo/terminfo":                {"MIT"},
	"github.com/h2non/filetype":             {"MIT"},
	"github.com/klauspost/compress":         {"BSD-3-Clause", "Apache-2.0", "MIT"},
	"github.com/lima-vm/go-qcow2reader":     {"Apache-2.0"},
	"golang.org/x/crypto":                   {"BSD-3-Clause"},
	"golang.org/x/sync":                     {"BSD-3-Clause"},
	"golang.org/x/sys":                      {"BSD-3-Clause"},
	"golang.org/x/term":                     {"BSD-3-Clause"},
}

func run(version, path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	sum := sha256.Sum256(content)
	b := bom{Format: "CycloneDX", Spec: "1.5", Serial: serial(sum), Version: 1}
	b.Metadata.Timestamp = time.Unix(epoch, 0).UTC().Format(time.RFC3339)
	name := info.Main.Path[strings.LastIndex(info.Main.Path, "/")+1:]
	main := component{Ref: name, Type: "application", Name: name, Version: version, Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}}
	for _, s := range info.Settings {
		main.Properties = append(main.Properties, property{"go:" + s.Key, s.Value})
	}
	std := component{Ref: "std", Type: "library", Name: "std", Version: info.GoVersion, PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
	b.Components = []component{std}
	for _, m := range info.Deps {
		if strings.HasPrefix(info.Main.Path, m.Path+"/") { // the rest of this repository
			continue
		}
		if m.Replace != nil {
			return fmt.Errorf("%s is replaced", m.Path)
		}
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		c := component{Ref: purl, Type: "library", Name: m.Path, Version: m.Version, PURL: purl}
		// The hash in go.sum covers all files of the module.
		h, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
		if err == nil && len(h) == sha256.Size {
			c.Properties = []property{{"go:h1", hex.EncodeToString(h)}}
		}
		b.Components = append(b.Components, c)
	}
	all := dependency{Ref: main.Ref}
	for i := range b.Components {
		c := &b.Components[i]
		if err := c.license(c.Name); err != nil {
			return err
		}
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{all}
	if err := main.license("thinpool"); err != nil {
		return err
	}
	b.Metadata.Component = main
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(b)
}

func (c *component) license(name string) error {
	if licenses[name] == nil {
		return errors.New(name + ": its licence is not known here: add it")
	}
	for _, id := range licenses[name] {
		var l license
		l.License.ID = id
		c.Licenses = append(c.Licenses, l)
	}
	return nil
}

// serial formats a hash as a UUID of version 8.
func serial(sum [32]byte) string {
	u := sum[:16]
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
