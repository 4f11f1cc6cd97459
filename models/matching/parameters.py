"""Trained parameters of an identity version: the file beside it, checked, and what its levels weigh; training itself is training.py's."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.matching.comparisons import splink_comparisons
from models.policies.documents import Matching

SUFFIX = ".parameters.json"
Share = Annotated[float, Field(gt=0, le=1)]


class _Trained(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TrainedLevel(_Trained):
    """A level of agreement: how often pairs of one person (m) and of two (u) are on it."""

    label: str
    condition: str
    is_null_level: bool = False
    m_probability: Share | None = None
    u_probability: Share | None = None
    term_frequency_column: str | None = None

    @property
    def match_weight(self) -> float:
        """log2(m / u): what being on this level adds to the pair's weight."""
        if self.m_probability is None or self.u_probability is None:
            return 0.0
        return math.log2(self.m_probability / self.u_probability)


class TrainedComparison(_Trained):
    """The levels of one comparison, the null level first."""

    name: str
    levels: Annotated[tuple[TrainedLevel, ...], Field(strict=False)]


class MatchParameters(_Trained):
    """What `handoff identity train` writes; the same records, policy and seed give the same file."""

    format: Literal[1] = 1
    comparisons_hash: str
    splink_version: str
    seed: int
    record_count: int
    prior_probability: Share
    comparisons: Annotated[tuple[TrainedComparison, ...], Field(strict=False)]
    term_frequencies: dict[str, dict[str, Share]] = Field(default_factory=dict)

    @property
    def prior_weight(self) -> float:
        """log2 of the odds that two records taken at random are one person."""
        return math.log2(self.prior_probability / (1 - self.prior_probability))

    @property
    def version(self) -> str:
        """First characters of the content's hash: what a link is said to be scored with."""
        return parameters_hash(self)[:12]


def parameters_path(policy_file: Path) -> Path:
    """Where the parameters of a version stand: v1.yml has v1.parameters.json beside it."""
    return policy_file.with_name(policy_file.stem + SUFFIX)


def read_parameters(path: Path) -> MatchParameters:
    """The parameters in a file; raises ValueError (pydantic's included) naming what is wrong with it."""
    return MatchParameters.model_validate_json(path.read_text(encoding="utf-8"))


def parameters_text(parameters: MatchParameters) -> str:
    """The file's content: sorted, so that two trainings can be compared line by line."""
    content = parameters.model_dump(mode="json", exclude_defaults=True)
    return json.dumps({"format": 1, **content}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def parameters_hash(parameters: MatchParameters) -> str:
    """SHA-256 (hex) of what the parameters say."""
    return hashlib.sha256(parameters_text(parameters).encode()).hexdigest()


def comparisons_hash(matching: Matching) -> str:
    """Hash of what is compared and how: parameters trained for other comparisons weigh nothing here."""
    told = json.dumps(splink_comparisons(matching), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def matches_policy(parameters: MatchParameters, matching: Matching) -> bool:
    """Whether the parameters were trained for these comparisons."""
    return parameters.comparisons_hash == comparisons_hash(matching)


def level_rows(parameters: MatchParameters) -> list[Mapping[str, Any]]:
    """One row per comparison and level, in the order in which the levels are tried; positions count from 1."""
    return [
        {
            "comparison": comparison.name,
            "comparison_position": number,
            "level_position": position,
            "label": level.label,
            "condition": level.condition,
            "is_null_level": level.is_null_level,
            "m_probability": level.m_probability,
            "u_probability": level.u_probability,
            "match_weight": level.match_weight,
            "term_frequency_column": level.term_frequency_column,
        }
        for number, comparison in enumerate(parameters.comparisons, start=1)
        for position, level in enumerate(comparison.levels, start=1)
    ]
