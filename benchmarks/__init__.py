"""Benchmarks: scripts that print what they measured and where, and suites for asv."""
