// Command outside is an example of a third-party program: it checks a pool, repairs it into another
// file if it has faults, and writes it as XML.
package main

import (
	"context"
	"fmt"
	"os"

	"thinpool/metadata"
	"thinpool/metadata/block"
	"thinpool/tool/check"
	"thinpool/tool/dump"
	"thinpool/tool/repair"
	"thinpool/tool/restore"
	"thinpool/xmlfmt"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, from, to string) error {
	var dev block.Device
	dev, err := block.Open(from, block.Options{})
	if err != nil {
		return err
	}
	defer dev.Close()
	sum, err := check.Run(ctx, dev, check.Options{}, func(f check.Fault) { fmt.Println("fault:", f.Severity, f.Code) })
	if err != nil {
		return err
	}
	if sum.Fatal > 0 {
		found, err := repair.Find(ctx, dev, repair.Options{})
		if err != nil {
			return err
		}
		for _, d := range found.Report.Devices {
			fmt.Printf("device %d: %d mappings read, %d confirmed, %d guessed, %d lost\n", d.ID, d.Read, d.Confirmed, d.Guessed, d.Lost)
		}
		dev = found.Device
	}
	pool, err := metadata.Open(dev, metadata.Options{})
	if err != nil {
		return err
	}
	b := restore.New(restore.Options{})
	if err := dump.Run(ctx, pool, dump.Options{}, b); err != nil {
		return err
	}
	out, err := block.Open(to, block.Options{Write: true})
	if err != nil {
		return err
	}
	defer out.Close()
	if err := b.Write(ctx, out); err != nil {
		return err
	}
	if pool, err = metadata.Open(out, metadata.Options{}); err != nil {
		return err
	}
	return dump.Run(ctx, pool, dump.Options{}, xmlfmt.NewWriter(os.Stdout, xmlfmt.Style1))
}
