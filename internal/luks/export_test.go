package luks

// Work is roughly the number of hashes needed to try a slot.
func (s *Slot) Work() uint64 {
	passes := max(uint64(s.Memory)>>10, 1)
	return uint64(s.Iterations)*passes + uint64(s.digest.iterations)
}
