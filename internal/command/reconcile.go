package command

import (
	"thinpool/internal/cli"
	"thinpool/internal/lvmcheck"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
)

// compareWithLVM prints in what LVM and the metadata do not agree. The error is
// [cli.ErrReported] if the pool, or a volume, cannot be activated because of it.
func compareWithLVM(env *cli.Env, from *source.Source, p *view.FaultPrinter) error {
	if from.Place == nil || from.Place.Pool == nil {
		return nil
	}
	pool, err := metadata.Open(from, metadata.Options{})
	if err != nil {
		return nil // the check has said why
	}
	both := lvmcheck.Pool{Group: from.Place.Group, Volume: from.Place.Pool, Superblock: pool.Superblock}
	for d, err := range pool.Devices(env) {
		if err != nil {
			return env.Err()
		}
		both.Devices = append(both.Devices, d)
	}
	refused := false
	for _, d := range both.Compare() {
		refused = refused || d.Refused
		p.Difference(d)
	}
	if refused {
		return cli.ErrReported
	}
	return nil
}
