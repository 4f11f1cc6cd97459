"""Pages for people: what they look like, and their tables; no network, no script."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape
from itertools import chain, repeat

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.soft{color:#5b6470}table{border-collapse:collapse;margin:.5rem 0}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid #dfe3e8;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.plots{display:flex;flex-wrap:wrap;gap:1rem}.plots svg{max-width:100%;height:auto;background:#fff}
.chosen{font-weight:600}.off{color:#a3430b}code{font-size:.9em}
@media (prefers-color-scheme:dark){body{color:#dfe5ec;background:#161b22}th,td{border-color:#333c47}.soft{color:#9aa5b1}.off{color:#f0a070}}
"""


def page(title: str, body: str) -> str:
    """A whole page; `title` is text, `body` HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">
<style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    figures: Collection[int] = (),
    marked: Sequence[str] = (),
) -> str:
    """Texts as a table; `figures` are the columns that hold numbers, `marked` the class of each row ("chosen", "off", or none)."""
    head = f"<tr>{_cells('th', heads, figures)}</tr>" if heads else ""
    kinds = chain(marked, repeat(""))
    body = "".join(
        f'<tr class="{kind}">{_cells("td", row, figures)}</tr>'
        for row, kind in zip(rows, kinds, strict=False)
    )
    return f"<table>{head}{body}</table>"


def _cells(tag: str, texts: Sequence[str], figures: Collection[int]) -> str:
    opened = [
        f'<{tag} class="n">' if place in figures else f"<{tag}>" for place in range(len(texts))
    ]
    return "".join(
        f"{start}{escape(text)}</{tag}>" for start, text in zip(opened, texts, strict=True)
    )
