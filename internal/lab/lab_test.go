package lab

import (
	"testing"
)

const corpus = "../../../shared/kernel/corpus"

// The plain reader agrees with what others say of the images.
func TestTruth(t *testing.T) {
	images, err := Images(corpus)
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		t.Logf("%s: %d used, %d mappings, %d free nodes", im.Name, len(im.Used), im.Truth.Mappings(), len(im.free))
	}
}

func TestDetection(t *testing.T) {
	images, err := Images(corpus)
	if err != nil {
		t.Fatal(err)
	}
	for _, im := range images {
		t.Run(im.Name, func(t *testing.T) {
			t.Parallel()
			n := 0
			for c := range im.Cases(1) {
				d := c.Detect(t.Context())
				for _, w := range d.Wrong {
					t.Errorf("%s: %s", c, w)
				}
				if n++; n == 200 {
					break
				}
			}
		})
	}
}
