// Package blocktest, whose API may change, provides devices for tests: one in memory that fails on
// demand and simulates a power cut, and one that counts what reads would cost on a spinning disk.
package blocktest
