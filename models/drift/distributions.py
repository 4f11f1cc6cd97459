"""Whether what people are like, what they did and what they score has moved between two samples: how far, and whether by more than chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.scoring.metrics import Floats

Measure = Literal["PSI", "Wasserstein"]

# Added to each cell of both samples, as a cell without anybody has no logarithm.
_ADDED = 0.5
_SEED = 7
# A test ends once chance has done as much so many times: more draws would only say more precisely that it is nothing (Besag and Clifford 1991).
_ENOUGH = 20
_DRAWN_AT_ONCE = 500
# Of more numbers so many are compared, drawn without replacement.
_MOST_NUMBERS = 2_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One subject to compare, as people call it: counts by cell, or numbers (arrays of shape (n,), any unit)."""

    subject: str
    before: Mapping[str, int] | Floats
    now: Mapping[str, int] | Floats


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one subject has moved from `before` to `now` (numbers of cases). `size` is the population stability index, or the Wasserstein
    distance in standard deviations of both together; `by_chance` what samples of these sizes from one source differ by on average."""

    subject: str
    measure: Measure
    before: int
    now: int
    size: float
    by_chance: float
    p_value: float | None
    is_significant: bool
    evidence: str

    @property
    def beyond_chance(self) -> float:
        """`size` without what chance does; 0 while chance explains all of it. By custom 0.1 is worth a look, 0.25 a different population."""
        return max(0.0, self.size - self.by_chance) if self.is_significant else 0.0


def subjects(kind: str, labels: Mapping[str, str]) -> dict[str, str]:
    """What each id is called as a subject: by its label, and where another has the same label by its id as well."""
    often = Counter(labels.values())
    return {
        name: f"{kind}: {label}" + (f" ({name})" if often[label] > 1 else "")
        for name, label in labels.items()
    }


def compare(
    samples: Sequence[Sample], *, minimum_sample: int = 30, alarm_rate: float = 0.01
) -> tuple[Shift, ...]:
    """Compare every subject; `alarm_rate` is of all together (Bonferroni). P-values come from drawing both samples anew from what they have
    together, so they hold for samples of any size; where either is smaller than `minimum_sample` there is none."""
    each = alarm_rate / max(1, len(samples))
    most = math.ceil(10 / each)
    return tuple(_shift(sample, minimum_sample, each, most) for sample in samples)


def _shift(sample: Sample, minimum_sample: int, alarm_rate: float, most: int) -> Shift:
    # One generator a subject: what is compared beside it changes nothing.
    random = np.random.default_rng(_SEED)
    measure: Measure
    if isinstance(sample.before, Mapping) and isinstance(sample.now, Mapping):
        measure = "PSI"
        cells, counts = _by_cell(sample.before, sample.now)
        sizes = (int(counts[0].sum()), int(counts[1].sum()))
        evidence = _moved_cell(cells, counts)
        size, drawn = _psi_and_chance(counts, random)
    else:
        assert isinstance(sample.before, np.ndarray) and isinstance(sample.now, np.ndarray)
        measure = "Wasserstein"
        sizes = (len(sample.before), len(sample.now))
        evidence = _moved_middle(sample.before, sample.now)
        size, drawn = _distance_and_chance(sample.before, sample.now, random)
    if min(sizes) < max(1, minimum_sample):
        told = f"{sizes[0]:,} before and {sizes[1]:,} now, at least {minimum_sample} are needed"
        return Shift(sample.subject, measure, *sizes, 0.0, 0.0, None, False, told)
    p_value, by_chance = _told_by_chance(size, drawn, most)
    is_significant = p_value < alarm_rate
    return Shift(
        sample.subject, measure, *sizes, size, by_chance, p_value, is_significant, evidence
    )


def _by_cell(
    before: Mapping[str, int], now: Mapping[str, int]
) -> tuple[list[str], NDArray[np.int64]]:
    cells = sorted(before.keys() | now.keys())
    counts = [[sizes.get(cell, 0) for cell in cells] for sizes in (before, now)]
    return cells, np.asarray(counts, dtype=np.int64).reshape(2, len(cells))


def _told_by_chance(size: float, drawn: Callable[[int], Floats], most: int) -> tuple[float, float]:
    """(p-value, mean by chance) of a size, drawing until chance has done as much often enough."""
    found = np.empty(0)
    while len(found) < most:
        found = np.append(found, drawn(_DRAWN_AT_ONCE))
        # Sums of the same cells in another order differ in the last digits.
        reached = np.flatnonzero(found >= size * (1 - 1e-9))
        if len(reached) >= _ENOUGH:
            return _ENOUGH / float(reached[_ENOUGH - 1] + 1), float(found.mean())
    return (len(reached) + 1) / (len(found) + 1), float(found.mean())


def _psi_and_chance(
    counts: NDArray[np.int64], random: np.random.Generator
) -> tuple[float, Callable[[int], Floats]]:
    counts = counts[:, counts.sum(axis=0) > 0]
    together, size_now = counts.sum(axis=0), int(counts[1].sum())

    def drawn(number: int) -> Floats:
        again = random.multivariate_hypergeometric(
            together, size_now, size=number, method="marginals"
        )
        return psi(together - again, again)

    return float(psi(counts[:1], counts[1:])[0]), drawn


def psi(before: NDArray[np.int64], now: NDArray[np.int64]) -> Floats:
    """Population stability index of counts by cell, arrays of shape (n, cells); returns shape (n,)."""
    former = (before + _ADDED) / (before + _ADDED).sum(axis=1, keepdims=True)
    latter = (now + _ADDED) / (now + _ADDED).sum(axis=1, keepdims=True)
    told: Floats = ((latter - former) * np.log(latter / former)).sum(axis=1)
    return told


def _distance_and_chance(
    before: Floats, now: Floats, random: np.random.Generator
) -> tuple[float, Callable[[int], Floats]]:
    if not len(before) or not len(now):
        return 0.0, np.zeros
    before, now = (_fewer(values, random) for values in (before, now))
    together = np.concatenate([before, now])
    order = np.argsort(together, kind="stable")
    gaps = np.diff(together[order])
    spread = float(together.std())
    # What one case more below a value moves the difference of both shares by.
    steps = np.where(order < len(before), -1 / len(before), 1 / len(now))

    def distance(given: Floats) -> Floats:
        moved: Floats = np.abs(np.cumsum(given, axis=-1)[..., :-1]) @ gaps
        return moved / spread if spread else np.zeros(np.shape(given)[:-1])

    def drawn(number: int) -> Floats:
        return distance(random.permuted(np.tile(steps, (number, 1)), axis=1))

    return float(distance(steps[None, :])[0]), drawn


def _fewer(values: Floats, random: np.random.Generator) -> Floats:
    return (
        values
        if len(values) <= _MOST_NUMBERS
        else random.choice(values, _MOST_NUMBERS, replace=False)
    )


def _moved_cell(cells: list[str], counts: NDArray[np.int64]) -> str:
    if not cells or counts.sum(axis=1).min() == 0:
        return "nothing in one of the samples"
    shares = counts / counts.sum(axis=1, keepdims=True)
    # Of two cells the first, whatever the last digits say.
    place = int(np.abs(shares[1] - shares[0]).round(9).argmax())
    return f"{cells[place] or 'not said'}: {shares[0, place]:.1%}, now {shares[1, place]:.1%}"


def _moved_middle(before: Floats, now: Floats) -> str:
    if not len(before) or not len(now):
        return "nothing in one of the samples"
    return f"mean {before.mean():.3g}, now {now.mean():.3g}; median {np.median(before):.3g}, now {np.median(now):.3g}"


def one_share(tables: Iterable[tuple[int, int, int, int]]) -> float | None:
    """Exact p-value of a share being the same before and now within each stratum, given as (with it before, all before, with it now, all now);
    None where nothing can be told. What moves between strata counts for nothing (the exact form of the Cochran-Mantel-Haenszel test)."""
    from scipy.stats import hypergeom

    chances, first, found = np.ones(1), 0, 0
    is_told = False
    for with_before, all_before, with_now, all_now in tables:
        total, holders = all_before + all_now, with_before + with_now
        low, high = max(0, all_now - (total - holders)), min(holders, all_now)
        found += with_now
        first += low
        if low == high:
            continue
        is_told = True
        told = hypergeom.pmf(np.arange(low, high + 1), total, holders, all_now)
        # Of large strata all but a few counts are out of the question.
        likely = np.flatnonzero(told > 1e-18)
        first += int(likely[0])
        chances = np.convolve(chances, told[likely[0] : likely[-1] + 1])
    if not is_told:
        return None
    place = found - first
    if not 0 <= place < len(chances):
        return 0.0
    return float(min(1.0, chances[chances <= chances[place] * (1 + 1e-7)].sum()))
