"""The one command: `python -m benchmarks [NAME…] [--size NAME=N] [--worlds FOLDER] [--markdown]`."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks import worlds
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
        help="size of a kernel, 250k, 10m or in digits; the name may be left out when one kernel"
        " is run",
    )
    parser.add_argument(
        "--worlds",
        type=Path,
        metavar="FOLDER",
        help="keep worlds there and find them again; without it each kernel makes its own",
    )
    parser.add_argument(
        "--world",
        choices=sorted(worlds.SHAPES),
        default="standard",
        help="what the worlds are like, see benchmarks/worlds.py",
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
        written = re.fullmatch(r"([1-9][0-9]*)([km]?)", number.lower())
        if name not in sizes or not written:
            parser.error(f"--size {text}: give NAME=N, NAME one of {', '.join(chosen)}")
        sizes[name] = int(written[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[written[2]]
    # Kernels run in processes of their own, which inherit these.
    os.environ[worlds.SHAPE_VARIABLE] = given.world
    if given.worlds:
        given.worlds.mkdir(parents=True, exist_ok=True)
        os.environ[worlds.FOLDER_VARIABLE] = str(given.worlds.absolute())
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
