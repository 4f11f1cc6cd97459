"""What a run says when the CRM does not take a row."""

from __future__ import annotations

from orchestration.micro_batch import Batch


def batch(**metadata: object) -> Batch:
    return Batch("run", 1.0, {}, {"ops/pushes_salesforce": dict(metadata)})


def test_a_batch_whose_rows_were_refused_outside_says_so() -> None:
    assert batch(rows_planned=2, rows_failed=1, halted="").is_refused_outside()
    assert batch(rows_planned=2, halted="QUOTA_EXHAUSTED").is_refused_outside()
    assert not batch(rows_planned=2, rows_confirmed=2, halted="").is_refused_outside()
    assert not batch(configured=False).is_refused_outside()
