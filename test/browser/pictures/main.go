// Command pictures makes the pictures in the documents from the images of the repository.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color/palette"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"

	"github.com/chromedp/chromedp"

	"thinpool/test/browser"
)

// mostBytes is the maximum size of a picture.
const mostBytes = 100_000

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Println("pictures:", err)
		os.Exit(1)
	}
}

// run makes the pictures for the repository at root.
func run(ctx context.Context, root string) error {
	path := browser.Find()
	if path == "" {
		return errors.New("chromium is not installed")
	}
	folder, err := os.MkdirTemp("", "pictures")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b, err := browser.NewBench(ctx, root, folder)
	if err == nil {
		err = errors.Join(b.Fixture("lvm/one-pv", "disk.img"), b.Fixture("kernel/odd-blocks", "pool.meta"), b.Damage("pool.meta", 81))
	}
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"thin_report", "disk.img", "-o", "report.html"},
		{"thin_repair", "--dry-run", "-i", "pool.meta", "--report-html", "repair.html"},
	} {
		if _, err := b.Tool(ctx, 1, args...); err != nil {
			return err
		}
	}
	tab, stop := browser.Start(ctx, path)
	defer stop()
	for _, p := range []struct {
		name   string
		height int64
	}{{"report", 1110}, {"repair", 620}} {
		if err := browser.Show(tab, b.Path(p.name+".html"), browser.View{Width: 900, Height: p.height}); err != nil {
			return err
		}
		content, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
		if err == nil {
			content, err = small(content)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(root, "docs", p.name+".png"), content, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// small reduces a picture to 256 colours.
func small(content []byte) ([]byte, error) {
	picture, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	few := image.NewPaletted(picture.Bounds(), palette.WebSafe)
	draw.Draw(few, few.Rect, picture, picture.Bounds().Min, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, few); err != nil {
		return nil, err
	}
	if out.Len() > mostBytes {
		return nil, fmt.Errorf("a picture has %d bytes, want at most %d", out.Len(), mostBytes)
	}
	return out.Bytes(), nil
}
