package command

import (
	"errors"
	"fmt"
	"os"

	"thinpool/internal/cli"
	"thinpool/internal/lvmconfig"
)

// LVMConfig is thin_tools lvm-config.
type LVMConfig struct {
	cli.Common
	Check     bool   `help:"Say which implementation LVM runs now, also in the initramfs."`
	Initramfs string `help:"With --check: this image, not that of the running kernel." placeholder:"FILE"`
}

// Details implements cli.Detailer.
func (c *LVMConfig) Details() string {
	return `LVM runs thin_check, thin_repair and thin_dump by paths of its own, usually in /usr/sbin. This prints
settings that make it run these tools. With --check the exit code is 0 only if it does.`
}

// Examples implements cli.Exampler.
func (c *LVMConfig) Examples() string {
	return `# Make LVM run these tools
thin_tools lvm-config >>/etc/lvm/lvmlocal.conf
# Does it?
thin_tools lvm-config --check`
}

// Rules implements cli.Ruler.
func (c *LVMConfig) Rules() []cli.Rule { return cli.EachRequires([]string{"initramfs"}, "check") }

// Run implements cli.Command.
func (c *LVMConfig) Run(env *cli.Env) error {
	if c.Check {
		return c.check(env)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := lvmconfig.Links(program)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(env.Stdout, lvmconfig.Section(env, dir))
	return err
}

func (c *LVMConfig) check(env *cli.Env) error {
	programs, err := lvmconfig.Programs(env)
	if err != nil {
		return err
	}
	ours := true
	for _, p := range programs {
		fmt.Fprintf(env.Stdout, "%s: %s\n", p.Tool, describe(p))
		ours = ours && p.Ours
	}
	image := c.Initramfs
	if image == "" {
		image = lvmconfig.Image("/boot")
	}
	if image != "" {
		oursToo, err := checkImage(env, image)
		if err != nil {
			return err
		}
		if !oursToo && ours {
			fmt.Fprintln(env.Stderr, "thin_tools lvm-config: the initramfs has another implementation: rebuild it (update-initramfs -u, or dracut -f)")
			return cli.ErrReported
		}
	}
	if !ours {
		return errors.New("LVM does not run these tools; to change that: thin_tools lvm-config >>/etc/lvm/lvmlocal.conf")
	}
	return nil
}

// checkImage looks into an initramfs. One without LVM or thin_check does not run another
// implementation.
func checkImage(env *cli.Env, image string) (ours bool, err error) {
	p, err := lvmconfig.InImage(env, image)
	switch {
	case errors.Is(err, lvmconfig.ErrNoLVM):
		_, err = fmt.Fprintf(env.Stdout, "%s: no LVM\n", image)
		return true, err
	case err != nil:
		return false, err
	}
	_, err = fmt.Fprintf(env.Stdout, "%s: %s: %s\n", image, p.Tool, describe(p))
	return p.Ours || p.Absent || p.Path == "", err
}

// describe describes a program.
func describe(p lvmconfig.Program) string {
	switch {
	case p.Path == "":
		return "LVM runs nothing"
	case p.Absent:
		return p.Path + ", which does not exist: pools are activated without a check"
	case p.Ours:
		return p.Path + ", thinpool " + p.Version
	case p.Version == "":
		return p.Path + ", which cannot be run"
	}
	return p.Path + ", another implementation: " + p.Version
}
