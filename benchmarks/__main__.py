"""The one command: `python -m benchmarks [NAME…] [--size NAME=N] [--markdown]`."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Sequence

from benchmarks.measure import Measurement, kernel_names, load_kernel, run_alone
from benchmarks.report import print_results, write_readme


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named kernels, or all; 1 when one of them failed."""
    names = kernel_names()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the kernels beside their floors."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(names)}; all if none")
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="[NAME=]N",
        help="size of a kernel; the name may be left out when one kernel is run",
    )
    parser.add_argument("--markdown", action="store_true", help="update benchmarks/README.md")
    parser.add_argument("--list", action="store_true", help="say what there is and stop")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(names))
    if unknown:
        parser.error(f"unknown kernel {', '.join(unknown)}; known: {', '.join(names)}")
    chosen = tuple(dict.fromkeys(given.names)) or names
    sizes = {name: load_kernel(name).default_size for name in chosen}
    for text in given.size:
        name, _, number = text.rpartition("=")
        name = name or (chosen[0] if len(chosen) == 1 else "")
        if name not in sizes or not number.isdigit() or not int(number):
            parser.error(f"--size {text}: give NAME=N, NAME one of {', '.join(chosen)}")
        sizes[name] = int(number)
    if given.list:
        for name in chosen:
            kernel = load_kernel(name)
            print(f"{name} ({kernel.default_size:,} {kernel.size_unit})\n  {kernel.measures}")
            print(f"  Floor: {kernel.floor}")
        return 0

    results: list[tuple[str, list[Measurement]]] = []
    failed = False
    for name, size in sizes.items():
        print(f"{name}: {size:,} {load_kernel(name).size_unit} ...", end=" ", flush=True)
        started = time.monotonic()
        try:
            results.append((name, run_alone(name, size)))
        except Exception as error:
            failed = True
            print("failed", flush=True)
            traceback.print_exception(error)
            continue
        print(f"{time.monotonic() - started:.0f} s", flush=True)
    shown = [(load_kernel(name), found) for name, found in results]
    print()
    print_results(shown)
    if given.markdown:
        write_readme(shown)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
