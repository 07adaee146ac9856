package report

import (
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"
)

// A colour is red, green, blue and opacity.
type colour [4]byte

// png returns a PNG of side by side pixels, each the number of a colour. It is not compressed,
// because a small picture takes only a few kilobytes; image/png would add a hundred times as much
// to the program.
func png(side int, pixels []byte, palette []colour) []byte {
	const (
		depth   = 8 // bits per pixel
		indexed = 3 // colour type
	)
	var rows []byte
	for y := range side {
		rows = append(rows, 0) // no filter
		rows = append(rows, pixels[y*side:(y+1)*side]...)
	}
	var colours, opacity []byte
	for _, c := range palette {
		colours, opacity = append(colours, c[:3]...), append(opacity, c[3])
	}
	be := binary.BigEndian
	header := be.AppendUint32(be.AppendUint32(nil, uint32(side)), uint32(side))
	picture := []byte("\x89PNG\r\n\x1a\n")
	picture = appendChunk(picture, "IHDR", append(header, depth, indexed, 0, 0, 0))
	picture = appendChunk(picture, "PLTE", colours)
	picture = appendChunk(picture, "tRNS", opacity)
	picture = appendChunk(picture, "IDAT", stored(rows))
	return appendChunk(picture, "IEND", nil)
}

// appendChunk appends a chunk of a PNG.
func appendChunk(picture []byte, kind string, data []byte) []byte {
	picture = binary.BigEndian.AppendUint32(picture, uint32(len(data)))
	begin := len(picture)
	picture = append(append(picture, kind...), data...)
	return binary.BigEndian.AppendUint32(picture, crc32.ChecksumIEEE(picture[begin:]))
}

// stored returns data in zlib format, as a single stored block of at most 65535 bytes.
func stored(data []byte) []byte {
	n := uint16(len(data))
	out := []byte{0x78, 0x01, 1} // deflate, 32 KiB window; last block
	out = binary.LittleEndian.AppendUint16(out, n)
	out = append(binary.LittleEndian.AppendUint16(out, ^n), data...)
	return binary.BigEndian.AppendUint32(out, adler32.Checksum(data))
}

// hilbert returns the point after d steps of a Hilbert curve through a square whose side is a
// power of two. Points near each other on the curve are near each other in the square.
func hilbert(side, d int) (x, y int) {
	for s := 1; s < side; s *= 2 {
		rx := d / 2 & 1
		ry := (d ^ rx) & 1
		if ry == 0 {
			if rx == 1 {
				x, y = s-1-x, s-1-y
			}
			x, y = y, x
		}
		x, y = x+s*rx, y+s*ry
		d /= 4
	}
	return x, y
}
