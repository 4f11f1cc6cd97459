"""One file per kernel; a file that defines KERNEL is found by its name."""
