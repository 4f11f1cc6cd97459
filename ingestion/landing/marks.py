"""How far the log has come, beside the warehouse: whoever may not open that can still say what has landed and was decided."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import orjson

from ingestion.durable_file import write_atomically
from ingestion.log.interface import LANES, Lane
from ingestion.settings import Settings

# landed: in raw_*; transformed: the models have taken it in; decided: what they decided was pushed too.
Stage = Literal["landed", "transformed", "decided"]


def write_mark(settings: Settings, stage: Stage, through: Mapping[Lane, int]) -> None:
    """Remember that events up to these `seq` of each lane have come to `stage`."""
    path = _path(settings, stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, orjson.dumps(dict(through)).decode())


def read_mark(settings: Settings, stage: Stage) -> dict[Lane, int]:
    """The `seq` that each lane has come to `stage` with; 0 when nothing is known."""
    try:
        told = orjson.loads(_path(settings, stage).read_bytes())
        return {lane: int(told[lane]) for lane in LANES}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return dict.fromkeys(LANES, 0)


def _path(settings: Settings, stage: Stage) -> Path:
    return settings.artifacts_dir / "marks" / f"{stage}.json"
