package command

import (
	"fmt"

	"thinpool/internal/cli"
	"thinpool/internal/lvmcheck"
	"thinpool/metadata"
)

// lvmRecord is a difference between LVM and the metadata in JSON.
type lvmRecord struct {
	Type    string        `json:"type"` // "lvm"
	Code    lvmcheck.Code `json:"code"`
	Refused bool          `json:"refused"`
	Message string        `json:"message"`
	Mend    []string      `json:"mend,omitempty"`
}

// compareWithLVM prints in what LVM and the metadata do not agree. The error is
// [cli.ErrReported] if the pool, or a volume, cannot be activated because of it.
func (p *faultPrinter) compareWithLVM(env *cli.Env, from *source) error {
	if from.place == nil || from.place.pool == nil {
		return nil
	}
	pool, err := metadata.Open(from, metadata.Options{})
	if err != nil {
		return nil // the check has said why
	}
	both := lvmcheck.Pool{Group: from.place.group, Volume: from.place.pool, Superblock: pool.Superblock}
	for d, err := range pool.Devices(env) {
		if err != nil {
			return env.Err()
		}
		both.Devices = append(both.Devices, d)
	}
	refused := false
	for _, d := range both.Compare() {
		refused = refused || d.Refused
		switch {
		case p.quiet:
		case p.json:
			p.line(lvmRecord{"lvm", d.Code, d.Refused, d.Text, d.Fix})
		default:
			fmt.Fprintln(p.err, d.String())
			for _, command := range d.Fix {
				fmt.Fprintf(p.err, "  %s\n", command)
			}
		}
	}
	if refused {
		return cli.ErrReported
	}
	return nil
}
