"""What a kernel is and how its work is timed, beside its floor; what is measured stands in `kernels`."""

from __future__ import annotations

import importlib
import pkgutil
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case: medians of the seconds that `count` units took us, and the floor, in the same run.

    `ratio` is the median of our seconds by the floor's, pair by pair: 1.0 is as fast as the floor,
    2.0 takes twice as long. `peak_mb` is the greatest resident memory of the process that did our
    work, in 10^6 bytes. `facts` are counts that are not speeds.
    """

    case: str
    count: int
    unit: str
    seconds: float
    floor_seconds: float
    ratio: float
    peak_mb: float | None = None
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A piece of the work.

    `run(size, folder)` makes its data in `folder`, an empty one that is deleted afterwards, and
    returns its cases; `size_unit` says what `size` counts. `floor` says what it is compared with.
    """

    name: str
    measures: str
    floor: str
    size_unit: str
    default_size: int
    run: Callable[[int, Path], list[Measurement]]


def kernel_names() -> tuple[str, ...]:
    """Every kernel, by the name of its file."""
    from benchmarks import kernels

    return tuple(sorted(module.name for module in pkgutil.iter_modules(kernels.__path__)))


def load_kernel(name: str) -> Kernel:
    """The kernel of that file."""
    found = importlib.import_module(f"benchmarks.kernels.{name}").KERNEL
    assert isinstance(found, Kernel), f"benchmarks/kernels/{name}.py: KERNEL is no Kernel"
    return found


def run_alone(name: str, size: int) -> list[Measurement]:
    """Run a kernel in a process of its own: its memory is its own, and nothing is warm but what it
    warmed itself."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run, name, size).result()


def _run(name: str, size: int) -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="handoff-benchmark-") as folder:
        return load_kernel(name).run(size, Path(folder))


def compare(
    case: str,
    count: int,
    unit: str,
    ours: Sequence[float],
    floor: Sequence[float],
    peak_mb: float | None = None,
    **facts: str,
) -> Measurement:
    """A measurement of seconds taken in turn: ours, floor, ours, floor, so that a load that comes
    and goes meets both."""
    ratios = [mine / least for mine, least in zip(ours, floor, strict=True)]
    return Measurement(
        case, count, unit, median(ours), median(floor), median(ratios), peak_mb, facts
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass(slots=True)
class Peak:
    """The greatest resident memory while `watch_memory` was open."""

    mb: float = 0.0


@contextmanager
def watch_memory() -> Iterator[Peak]:
    """Peak resident memory of this process within the block; where the kernel cannot forget the
    peak before it (not Linux), since the process began."""
    peak = Peak()
    status = Path("/proc/self/clear_refs")
    if status.exists():
        status.write_text("5", encoding="ascii")
    yield peak
    peak.mb = peak_mb_of("self") or _peak_since_start()


def peak_mb_of(process: int | str) -> float | None:
    """Peak resident memory of a process as Linux counts it (VmHWM), in 10^6 bytes; else None."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return None
    for line in status.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _peak_since_start() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
