package view

import (
	"fmt"
	"io"

	"thinpool/metadata"
	"thinpool/tool/stat"
)

const percent = 100

// binRecord is a histogram line in JSON.
type binRecord struct {
	Type  string `json:"type"` // "bin"
	Value uint64 `json:"value"`
	Times uint64 `json:"times"`
}

// binsEndRecord is the last line: the sum of the counts, and the sum of all values.
type binsEndRecord struct {
	Type  string `json:"type"` // "summary"
	Times uint64 `json:"times"`
	Sum   uint64 `json:"sum"`
}

// Histogram prints a histogram as lines or as JSON.
func Histogram(w io.Writer, h stat.Histogram, json bool) error {
	times, sum := h.Total()
	enc := NewEncoder(w)
	for _, b := range h {
		var err error
		if json {
			err = enc.Encode(binRecord{"bin", b.Value, b.Times})
		} else {
			_, err = fmt.Fprintf(w, "%d\t%d\t%.4f\n", b.Value, b.Times, percent*float64(b.Times)/float64(times))
		}
		if err != nil {
			return err
		}
	}
	if json {
		return enc.Encode(binsEndRecord{"summary", times, sum})
	}
	_, err := fmt.Fprintf(w, "total\t%d\naverage\t%.4f\n", times, float64(sum)/float64(max(1, times)))
	return err
}

// statRecord is a device in JSON.
type statRecord struct {
	Type          string         `json:"type"` // "device"
	DevID         metadata.DevID `json:"dev_id"`
	Mappings      uint64         `json:"mappings"`
	Runs          uint64         `json:"runs"`
	Leaves        uint64         `json:"leaves"`
	SharedLeaves  uint64         `json:"shared_leaves"`
	InternalNodes uint64         `json:"internal_nodes"`
	Depth         int            `json:"depth"`
	Fill          float64        `json:"fill"` // average fill of the leaves, 0 to 1
	Name          string         `json:"name,omitempty"`
}

// Stat prints statistics of devices as a table or as JSON. name returns LVM's name for a device;
// nil: unknown.
func Stat(w io.Writer, devices []stat.Device, name func(metadata.DevID) string, json bool) error {
	known := name != nil
	if !known {
		name = func(metadata.DevID) string { return "" }
	}
	if json {
		enc := NewEncoder(w)
		for _, d := range devices {
			if err := enc.Encode(statRecord{"device", d.ID, d.Mappings, d.Runs, d.Leaves, d.Shared, d.Nodes, d.Depth, d.Fill(), name(d.ID)}); err != nil {
				return err
			}
		}
		return enc.Encode(devicesEndRecord{"summary", len(devices)})
	}
	columns := []string{"DEV", "MAPPINGS", "RUNS", "MEAN RUN", "LEAVES", "SHARED", "NODES", "DEPTH", "FILL"}
	if known {
		columns = append(columns, "NAME")
	}
	t := newTable(columns...)
	t.left = []string{"NAME"}
	for _, d := range devices {
		meanRun := float64(d.Mappings) / float64(max(1, d.Runs))
		cells := []string{
			fmt.Sprint(d.ID), digits(d.Mappings), digits(d.Runs), fmt.Sprintf("%.1f", meanRun), digits(d.Leaves), digits(d.Shared), digits(d.Nodes),
			fmt.Sprint(d.Depth), fmt.Sprintf("%.1f%%", percent*d.Fill()), name(d.ID),
		}
		t.add(cells[:len(columns)]...)
	}
	return t.writeTo(w)
}
