"""The same job as a user would write it in pandas or polars, its outcome compared number by number."""

from __future__ import annotations

import importlib
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import worlds
from benchmarks.measure import Kernel, Measurement, watch_memory
from benchmarks.peers.job import Job, Outcome, job_of_active_policies
from benchmarks.rebuilding import Rebuilt, rebuild

PEERS = ("pandas", "polars")
# Stages of the rebuild that the peers do too: see benchmarks/peers/job.py.
SAME_JOB = (
    "contacts",
    "identity",
    "activities",
    "accounts and opportunities",
    "people",
    "scores",
    "MQLs",
    "attribution",
)


def run(size: int, folder: Path) -> list[Measurement]:
    """One world of `size`, rebuilt by us and done by each peer that is installed."""
    rebuilt = rebuild(worlds.world_of(size), folder, _same_policies(folder / "policies"))
    ours = sum(rebuilt.seconds_of(stage) for stage in SAME_JOB)
    job = job_of_active_policies(worlds.AS_OF)
    found = []
    for peer in PEERS:
        if find_spec(peer) is None:
            print(f"{peer} is left out: `uv sync --group bench` installs it", file=sys.stderr)
            continue
        out = folder / peer
        out.mkdir()
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            outcome = pool.submit(_do, peer, rebuilt.kept, out, job).result()
        _require_equal(peer, outcome, rebuilt)
        theirs = sum(outcome.seconds.values())
        steps = "; ".join(f"{step} {taken:.2f} s" for step, taken in outcome.seconds.items())
        found.append(
            Measurement(
                f"{size:,} events, the same job in {peer}",
                size,
                "events",
                ours,
                theirs,
                ours / theirs,
                rebuilt.peak_mb,
                {
                    "seconds": f"{ours:.1f} of {theirs:.1f}",
                    "whole_rebuild": f"{rebuilt.transformed.seconds:.1f} s",
                    "whole_rebuild_of_the_processor": f"{rebuilt.cpu_seconds:.1f} of"
                    f" {outcome.cpu_seconds:.1f} s",
                    f"{peer}_peak": f"{outcome.peak_mb:,.0f} MB",
                    peer: steps,
                },
            )
        )
    return found


def _same_policies(folder: Path) -> Path:
    """The project's policies without what the peers do not do: consent withholds no points, and
    people have the account of their domain, not of their company's name, and of several the one known for longest."""
    from models.policies.load import copy_policies

    copy_policies(folder)
    consent, accounts = folder / "consent" / "v1.yml", folder / "accounts" / "v1.yml"
    before, _, rest = consent.read_text(encoding="utf-8").partition("\nscores:\n")
    consent.write_text(f"{before}\n{rest[rest.index('serving:') :]}", encoding="utf-8")
    text = accounts.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^match: .*$", "match: [exact_domain]", text)
    # What the peers know of an account: of several domains of a person the account known for longest counts.
    text = re.sub(r"(?m)^tie_breaks:\n.*$", "tie_breaks: [oldest]", text)
    accounts.write_text(text, encoding="utf-8")
    return folder


def _do(peer: str, raw: Path, out: Path, job: Job) -> Outcome:
    work = importlib.import_module(f"benchmarks.peers.{peer}_job").run
    before = time.process_time()
    with watch_memory() as peak:
        outcome: Outcome = work(raw, out, job)
    outcome.cpu_seconds = time.process_time() - before
    outcome.peak_mb = peak.mb
    return outcome


def _require_equal(peer: str, outcome: Outcome, rebuilt: Rebuilt) -> None:
    """A peer that comes to other results has done another job."""
    import numpy as np

    from ingestion.landing.warehouse import connect

    with connect(rebuilt.settings) as connection:

        def rows(query: str) -> list[Any]:
            return connection.execute(query).fetchall()

        [(people,)] = rows("select count(*) from marts.dim_people")
        [(activities,)] = rows("select count(*) from marts.fct_activities")
        [(mqls,)] = rows("select count(distinct person_id) from marts.fct_mqls")
        scores = np.sort(
            connection.execute("select total_score from marts.fct_scores").fetchnumpy()[
                "total_score"
            ]
        )
        revenue = {
            (model, channel): float(usd)
            for model, channel, usd in rows(
                "select attribution_model, channel, sum(attributed_revenue_usd)"
                " from marts.fct_attribution where is_won group by all"
            )
        }
    theirs = (outcome.people, outcome.activities, outcome.mql_people)
    if theirs != (people, activities, mqls):
        raise AssertionError(
            f"{peer}: people, activities, MQLs {theirs}, not {(people, activities, mqls)}"
        )
    if len(scores) != len(outcome.scores) or not np.allclose(scores, outcome.scores, atol=1e-5):
        raise AssertionError(f"{peer}: other scores than the warehouse's")
    # A share may round to the other cent; a channel's total may then be off by some.
    keys = revenue.keys() | outcome.revenue_usd.keys()
    wrong = {
        key: (outcome.revenue_usd.get(key, 0.0), revenue.get(key, 0.0))
        for key in keys
        if abs(outcome.revenue_usd.get(key, 0.0) - revenue.get(key, 0.0)) > 1.0
    }
    if wrong:
        raise AssertionError(f"{peer}: revenue by model and channel {wrong}")


KERNEL = Kernel(
    name="peers",
    measures="Seconds of the stages of a rebuild that make people, scores, MQLs and attribution out of"
    " raw rows; what else a rebuild does (consent, routing, KPIs, sync) is in `whole rebuild` only.",
    floor="No floor but what a user would write instead: pandas, or polars, from the same rows as"
    " Parquet to the same people, scores, MQLs and revenue by channel, reading and writing included.",
    size_unit="events",
    default_size=300_000,
    run=run,
)
