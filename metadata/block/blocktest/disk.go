package blocktest

import (
	"fmt"
	"sync"
	"time"

	"thinpool/metadata/block"
)

// Figures for [Disk.Time].
const (
	// A spinning disk: half a turn at 7200/min plus an arm movement; 150 MB/s.
	spinSeek, spinRequest = 12 * time.Millisecond, 100 * time.Microsecond
	spinBandwidth         = 150e6
	// reach is how far a disk reads ahead. Jumps within it are not seeks.
	reach = 1 << 20
)

// A Disk counts the requests, seeks and bytes that reads would cost on a spinning disk. It is for
// tests.
type Disk struct {
	block.Device
	mu   sync.Mutex
	next int64 // end of the last request
	load Load
}

// A Load is the work requested from a [Disk].
type Load struct {
	Requests, Seeks uint64
	Bytes           uint64
}

// NewDisk returns a Disk with the content of dev.
func NewDisk(dev block.Device) *Disk { return &Disk{Device: dev, next: -2 * reach} }

// ReadAt implements [block.Device].
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	d.load.Requests++
	d.load.Bytes += uint64(len(p))
	if off < d.next-reach || off > d.next+reach {
		d.load.Seeks++
	}
	d.next = off + int64(len(p))
	d.mu.Unlock()
	return d.Device.ReadAt(p, off)
}

// Load returns the work requested so far.
func (d *Disk) Load() Load {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.load
}

// Time returns how long a spinning disk takes for the load, one request after the other.
func (l Load) Time() time.Duration {
	return time.Duration(l.Seeks)*spinSeek + time.Duration(l.Requests)*spinRequest +
		time.Duration(float64(l.Bytes)/spinBandwidth*float64(time.Second))
}

func (l Load) String() string {
	return fmt.Sprintf("%d requests, %d seeks, %d KiB: %v", l.Requests, l.Seeks, l.Bytes>>10, l.Time().Round(time.Millisecond))
}
