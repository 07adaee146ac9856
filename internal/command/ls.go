package command

import (
	"slices"
	"strings"

	"thinpool/internal/cli"
	"thinpool/internal/source"
	"thinpool/internal/view"
	"thinpool/tool/ls"
)

// Ls is thin_ls.
type Ls struct {
	cli.Common
	MetadataSnap cli.Optional `help:"Read the metadata snapshot; the pool may be in use." short:"m" placeholder:"BLOCK" number:""`
	NoHeaders    bool         `help:"Do not print column headers."`
	Fields       string       `help:"Fields to print, or json for all fields, one object per line." short:"o" name:"format" placeholder:"FIELD,..."`
	Sort         string       `help:"Sort by these fields; - before a field for descending order, as in --sort=-EXCLUSIVE." placeholder:"FIELD,..."`
	Totals       bool         `help:"Print the sums in a last line."`
	Sets         bool         `help:"Also print sets of devices that free more when deleted together than apart."`
	Input        string       `arg:"" help:"Metadata device or file."`
	volumes
}

const defaultFields = "DEV,MAPPED,CREATE_TIME,SNAP_TIME"

func fieldNames() []string {
	var names []string
	for _, f := range view.LsFields {
		names = append(names, f.Name)
	}
	return names
}

// Details implements cli.Detailer.
func (l *Ls) Details() string {
	return "Fields: " + strings.Join(fieldNames(), ", ") + `.

Default: ` + defaultFields + `; for disk images also NAME. EXCLUSIVE and
SHARED fields read all mappings, HIGHEST fields a few blocks per device, and all others
only the device details.`
}

// Examples implements cli.Exampler.
func (l *Ls) Examples() string {
	return `# List the devices of an inactive pool
thin_ls /dev/mapper/vg-pool_tmeta
# How much deleting each device would free, while the pool is in use
thin_ls -m --no-headers -o DEV,EXCLUSIVE_BYTES /dev/mapper/vg-pool_tmeta`
}

// Run implements cli.Command.
func (l *Ls) Run(env *cli.Env) (err error) {
	columns, err := l.columns()
	if err != nil {
		return err
	}
	order, err := l.order()
	if err != nil {
		return err
	}
	pool, dev, err := source.OpenPool(env, source.Spec{Path: l.Input, Snapshot: l.MetadataSnap, Packs: true, Disk: l.disk()})
	if err != nil {
		return err
	}
	defer dev.Close()
	defer func() { err = view.Named(err, dev.Name) }()
	if dev.Name != nil && l.Fields == "" {
		columns = append(columns, view.LsName)
	}
	opt := ls.Options{Progress: env.Progress}
	for _, f := range columns {
		opt.Sharing = opt.Sharing || f.Sharing
		opt.Highest = opt.Highest || f.Highest
	}
	for _, f := range order {
		opt.Sharing = opt.Sharing || f.Sharing
		opt.Highest = opt.Highest || f.Highest
	}
	rows, err := ls.Run(env, pool, opt)
	if err != nil {
		return source.Damaged(err)
	}
	var sets *ls.Sets
	if l.Sets {
		found, err := ls.FindSets(env, pool, rows, opt)
		if err != nil {
			return source.Damaged(err)
		}
		sets = &found
	}
	if err := pool.CheckSnapshotHeld(); err != nil {
		return err
	}
	var named []view.LsRow
	for _, r := range rows {
		row := view.LsRow{Row: r}
		if dev.Name != nil {
			row.Name = dev.Name(r.ID)
		}
		named = append(named, row)
	}
	view.SortLs(named, order)
	blockSize := pool.Superblock.DataBlockSize
	if l.json() {
		return view.LsJSON(env.Stdout, named, sets, blockSize, l.Totals)
	}
	err = view.LsTable(env.Stdout, columns, named, uint64(blockSize), view.LsText{Headers: !l.NoHeaders, Totals: l.Totals})
	if err != nil || sets == nil {
		return err
	}
	return view.LsSets(env.Stdout, *sets, uint64(blockSize))
}

func (l *Ls) json() bool { return l.Fields == "json" }

// columns returns the requested fields.
func (l *Ls) columns() ([]view.LsField, error) {
	names := l.Fields
	switch {
	case l.json():
		return view.LsFields, nil
	case names == "":
		names = defaultFields
	}
	var columns []view.LsField
	for name := range strings.SplitSeq(names, ",") {
		f, err := lsField(name)
		if err != nil {
			return nil, err
		}
		columns = append(columns, f)
	}
	return columns, nil
}

// order returns the sort order.
func (l *Ls) order() ([]view.LsOrder, error) {
	if l.Sort == "" {
		return nil, nil
	}
	var order []view.LsOrder
	for name := range strings.SplitSeq(l.Sort, ",") {
		bare := strings.TrimPrefix(name, "-")
		f, err := lsField(bare)
		if err != nil {
			return nil, err
		}
		order = append(order, view.LsOrder{LsField: f, Descending: bare != name})
	}
	return order, nil
}

func lsField(name string) (view.LsField, error) {
	i := slices.IndexFunc(view.LsFields, func(f view.LsField) bool { return f.Name == name })
	if i < 0 {
		return view.LsField{}, cli.Usagef("unknown field %q%s", name, cli.DidYouMean(name, fieldNames()))
	}
	return view.LsFields[i], nil
}
