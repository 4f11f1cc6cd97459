"""Benchmarks: each kernel does one piece of the work and measures the floor under it in the same run."""
