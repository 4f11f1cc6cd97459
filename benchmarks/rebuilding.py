"""A world landed and rebuilt in a warehouse of its own, and the stages its models belong to; the floors are the kernels'."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks import worlds
from benchmarks.measure import watch_memory

if TYPE_CHECKING:
    from ingestion.settings import Settings
    from orchestration.transform import NodeResult, Transformed

# Marts by stage; of the other models the name says it.
_MARTS = {
    "entity_map": "identity",
    "fct_activities": "activities",
    "dim_accounts": "accounts and opportunities",
    "dim_campaigns": "accounts and opportunities",
    "dim_reps": "accounts and opportunities",
    "fct_opportunities": "accounts and opportunities",
    "dim_people": "people",
    "fct_consents": "consent",
    "fct_score_ledger": "scores",
    "fct_scores": "scores",
    "fct_mqls": "MQLs",
    "fct_assignments": "routing",
    "fct_touchpoints": "attribution",
    "fct_attribution": "attribution",
}
_CONCERNS = {
    "int_contacts": "contacts",
    "int_identity": "identity",
    "int_identifiers": "identity",
    "int_batch": "bookkeeping of batches",
    "int_activities": "activities",
    "int_accounts": "accounts and opportunities",
    "int_opportunities": "accounts and opportunities",
    "int_consents": "consent",
    "int_salesforce": "sync",
}
DBT = "dbt, views and seeds"


@dataclass(slots=True)
class Rebuilt:
    """A rebuilt world: seconds of its landing, what dbt said, the processor's seconds of that, the
    size of the file on disk and the most that DuckDB had beside it as it ran out of memory, in 10^6
    bytes."""

    settings: Settings
    kept: Path
    landing_seconds: float
    landing_peak_mb: float
    transformed: Transformed
    cpu_seconds: float
    peak_mb: float
    file_mb: float
    spill_mb: float
    stages: dict[str, list[NodeResult]] = field(default_factory=dict)

    def seconds_of(self, stage: str) -> float:
        """Seconds of a stage's nodes; of dbt what remains of the whole invocation as well."""
        seconds = sum(node.seconds for node in self.stages[stage])
        if stage == DBT:
            nodes = sum(node.seconds for node in self.transformed.nodes)
            seconds += self.transformed.seconds - nodes
        return seconds


def rebuild(world: worlds.World, folder: Path, policies: Path | None = None) -> Rebuilt:
    """Land `world` in a new home in `folder` and make every derived table from nothing, by the
    project's policies or those in the folder `policies`.

    Memory is limited as everywhere, by HANDOFF_DUCKDB_MEMORY_LIMIT.
    """
    from ingestion.settings import Settings

    kept = worlds.keep(world, folder)
    settings = Settings(home=folder / f"home-{world.key}", policies=policies)
    # Each in a process of its own: memory that landing let go of is not counted as the rebuild's.
    landing_seconds, landing_peak_mb = _in_a_process(_land, kept, settings)
    transformed, cpu_seconds, peak_mb, spill_mb = _in_a_process(_transform, settings)
    file_mb = settings.warehouse_path.stat().st_size / 1e6
    stages: dict[str, list[NodeResult]] = {}
    for node in transformed.nodes:
        stages.setdefault(_stage_of(node, transformed), []).append(node)
    return Rebuilt(
        settings,
        kept,
        landing_seconds,
        landing_peak_mb,
        transformed,
        cpu_seconds,
        peak_mb,
        file_mb,
        spill_mb,
        stages,
    )


def _in_a_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _land(kept: Path, settings: Settings) -> tuple[float, float]:
    """Seconds of the loads and peak memory."""
    with TemporaryDirectory() as folder:
        # dlt and its imports are paid once in a process, not per landing.
        warm = worlds.keep(worlds.World(1_000), Path(folder))
        worlds.land(warm, settings.model_copy(update={"home": Path(folder) / "home"}))
    with watch_memory() as peak:
        seconds = worlds.land(kept, settings)
    return seconds, peak.mb


def _transform(settings: Settings) -> tuple[Transformed, float, float, float]:
    """What dbt said, the processor's seconds, peak memory, and the most that was spilled."""
    from orchestration.transform import manifest, transform

    # Parsed by the installation, not by a rebuild.
    manifest(settings)
    before = time.process_time()
    with (
        watch_memory() as peak,
        _watch_folder(settings.warehouse_path.with_name("warehouse.duckdb.tmp")) as spill,
    ):
        transformed = transform(settings, as_of=worlds.AS_OF, full_refresh=True)
    return transformed, time.process_time() - before, peak.mb, spill.mb


def _stage_of(node: NodeResult, transformed: Transformed) -> str:
    if (node.schema, node.name) not in transformed.rows or node.unique_id.startswith("seed."):
        return DBT
    if node.schema == "sync":
        return "sync"
    concern = _CONCERNS.get(node.name.partition("__")[0])
    return _MARTS.get(node.name) or concern or "reports and operations"


@dataclass(slots=True)
class _Spill:
    mb: float = 0.0


@contextmanager
def _watch_folder(path: Path) -> Iterator[_Spill]:
    """The most the files of `path` took while the block ran; it need not exist."""
    spill, done = _Spill(), threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            try:
                size = sum(file.stat().st_blocks * 512 for file in path.glob("*"))
            except FileNotFoundError:  # deleted between being listed and being looked at
                continue
            spill.mb = max(spill.mb, size / 1e6)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield spill
    finally:
        done.set()
        watcher.join()
