package command

import (
	"thinpool/internal/cli"
	"thinpool/internal/lvmcheck"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/metadata"
)

// compareWithLVM prints mismatches between LVM and the metadata. It returns [cli.ErrReported] if a
// mismatch prevents activation of the pool or a volume.
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

// differencesWithLVM returns mismatches between LVM and the metadata. It returns none if either is
// unknown.
func differencesWithLVM(env *cli.Env, from *source.Source) ([]lvmcheck.Difference, error) {
	if from.Place == nil || from.Place.Pool == nil {
		return nil, nil
	}
	pool, err := metadata.Open(from, metadata.Options{})
	if err != nil {
		return nil, nil // the check has reported why
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
