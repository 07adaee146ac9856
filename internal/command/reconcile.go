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
	all, err := differencesWithLVM(env, from)
	if err != nil {
		return err
	}
	refused := false
	for _, d := range all {
		refused = refused || d.Refused
		p.Difference(d)
	}
	if refused {
		return cli.ErrReported
	}
	return nil
}

// differencesWithLVM is in what LVM and the metadata do not agree; nothing where one of them is
// not known.
func differencesWithLVM(env *cli.Env, from *source.Source) ([]lvmcheck.Difference, error) {
	if from.Place == nil || from.Place.Pool == nil {
		return nil, nil
	}
	pool, err := metadata.Open(from, metadata.Options{})
	if err != nil {
		return nil, nil // the check has said why
	}
	both := lvmcheck.Pool{Group: from.Place.Group, Volume: from.Place.Pool, Superblock: pool.Superblock}
	for d, err := range pool.Devices(env) {
		if err != nil {
			return nil, env.Err()
		}
		both.Devices = append(both.Devices, d)
	}
	return both.Compare(), nil
}
