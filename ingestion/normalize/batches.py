"""Runs a function of one value over a column of them: once per distinct value, as a column is mostly repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa


def each_distinct(
    values: pa.ChunkedArray | pa.Array, function: Callable[[str | None], str | None]
) -> pa.Array:
    """`function` of each of `values` (strings), called once for each distinct one; null is passed on as None."""
    import pyarrow as pa

    strings = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    encoded = strings.cast(pa.string()).dictionary_encode(null_encoding="encode")
    answers = pa.array([function(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return answers.take(encoded.indices)
