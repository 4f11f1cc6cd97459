"""Shows results as a table and keeps them in the README; measures nothing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Kernel, Measurement

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results: written by `python -m benchmarks --markdown` -->", "<!-- /results -->"
COLUMNS = ("Kernel", "Case", "Ours", "Floor", "Times floor", "Peak MB", "")

Results = Sequence[tuple[Kernel, Sequence[Measurement]]]


def print_results(results: Results) -> None:
    """The table on the terminal."""
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for row in _rows(results):
        table.add_row(*row)
    # Piped output keeps whole lines; a terminal gets its own width.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    console.print(f"\n{machine()}", style="dim")


def write_readme(results: Results, path: Path = README) -> None:
    """Replace the rows of these kernels in the README's table; rows of kernels not run stay."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    kept = [line for line in old.splitlines() if line.startswith("| ")][1:]
    ran = {f"| {kernel.name} |" for kernel, _ in results}
    lines = [line for line in kept if not line.startswith(tuple(ran))]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(results)]
    table = [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * 2 + "---:|" * 4 + "---|",
        *sorted(lines, key=lambda line: line.split("|")[1]),
    ]
    told = [BEGIN, *table, "", machine(), END]
    path.write_text(before + "\n".join(told) + after, encoding="utf-8")


def machine() -> str:
    """Where and with what it was measured, in one line."""
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("duckdb", "apsw", "dbt-core", "dlt", "uvicorn")
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores ({_processor()}),"
        f" {memory:.0f} GB, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}, {versions}."
    )


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        for line in cpus.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _rows(results: Results) -> list[tuple[str, ...]]:
    return [
        (
            kernel.name,
            found.case,
            _speed(found, found.seconds),
            _speed(found, found.floor_seconds),
            f"{found.ratio:.1f}",
            "" if found.peak_mb is None else f"{found.peak_mb:,.0f}",
            ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in found.facts.items()),
        )
        for kernel, measurements in results
        for found in measurements
    ]


def _speed(found: Measurement, seconds: float) -> str:
    if found.count == 1:
        return f"{seconds:.2f} s"
    return f"{found.count / seconds:,.0f} {found.unit}/s"
