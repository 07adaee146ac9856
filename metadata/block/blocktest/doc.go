// Package blocktest, whose API may change, has devices for tests: one in memory that fails on
// demand and plays a power cut, and one that counts what reading it would ask of a spinning disk.
package blocktest
