package lab

import (
	"context"
	"testing"

	"thinpool/metadata/block"
)

func tryRepair(ctx context.Context, t *testing.T, dev block.Device) error { return nil }
