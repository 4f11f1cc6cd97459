"""Letters as they are compared: without case and accents."""

from __future__ import annotations


def fold(text: str) -> str:
    """`text` in lower case without accents, compatibility forms resolved (NFKD); letters that are no accented ones have their usual
    replacement (ø, ł, đ, æ, ß). Other scripts stay: a transliteration is a guess."""
    if text.isascii():
        return text.lower()
    from cleanco.clean import remove_accents

    return str(remove_accents(text))
