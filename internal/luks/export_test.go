package luks

// Work is about how many hashes a slot takes to try.
func (s *Slot) Work() uint64 {
	passes := max(uint64(s.Memory)>>10, 1)
	return uint64(s.Iterations)*passes + uint64(s.digest.iterations)
}
