"""Person names as they compare: without case, by component group, and in fuzzy matching by their words."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable

Word = tuple[str, ...]  # per letter the letters that count as it

_BETWEEN = re.compile(r"[\s^=*?,-]+")
_MOST_WORDS = 12
_LONGEST_WORD = 64  # characters; a component group has no more
_MOST_COMPONENTS = 5
# Letters that have no decomposition and are yet written with the plain letter.
_STROKED = {"ø": "o", "đ": "d", "ł": "l", "ħ": "h", "ŧ": "t", "ı": "i", "ð": "d"}  # noqa: RUF001
_DIGRAPHS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"}
_COMPOSED = ((0xC0, 0x250), (0x370, 0x460), (0x1E00, 0x2000))  # Latin, Greek and Cyrillic with marks


def fold(text: str) -> str:
    """The form in which names compare: without case, width, and empty ends of components."""
    if text.isascii():
        folded = text.lower()
    else:
        # Folding can undo the normal form, so it is made again.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "^".join(part.strip() for part in folded.split("^")).rstrip("^")


def variants(group: str) -> tuple[str, ...]:
    """The folded forms of a key for one group that a folded name may match.

    Empty components at a name's end are not written, so `smith^*` is there to find `smith` too.
    """
    folded = fold(group)
    found = [folded]
    while len(folded) > 2 and folded.endswith("^*") and len(found) <= _MOST_COMPONENTS:
        folded = folded[:-2].rstrip("^")
        if folded:
            found.append(folded)
    return tuple(found)


def words(key: str) -> tuple[tuple[Word, ...], ...]:
    """The words of a fuzzy key, each in the spellings that a word of a name may begin with.

    A letter stands for itself with any accent, and ä, ae and their like for each other.
    """
    parts = [part for part in _BETWEEN.split(fold(key)) if part]
    return tuple(tuple(map(_word, _spellings(part[:_LONGEST_WORD]))) for part in parts[:_MOST_WORDS])


def beginning(key: str) -> Callable[[str], bool]:
    """Whether every word of a key begins a word of a folded name."""
    found = [re.compile("|".join(map(_expression, spellings))) for spellings in words(key)]

    def test(held: str) -> bool:
        parts = [part for part in _BETWEEN.split(held) if part]
        return all(any(one.match(part) for part in parts) for one in found)

    return test


def _expression(word: Word) -> str:
    return "".join(re.escape(one) if len(one) == 1 else f"[{re.escape(one)}]" for one in word)


def _spellings(word: str) -> dict[str, None]:
    long = "".join(_DIGRAPHS.get(mark, mark) for mark in word)
    short = re.sub("ae|oe|ue|aa", lambda found: found[0][0], word)
    return dict.fromkeys((word, long, short))


def _word(spelling: str) -> Word:
    return tuple(_alike().get(plain(mark), mark) for mark in spelling)


def plain(mark: str) -> str:
    """A letter without its accents."""
    if mark.isascii():
        return mark
    base = unicodedata.normalize("NFD", mark)[0]
    return _STROKED.get(base, base)


@functools.cache
def _alike() -> dict[str, str]:
    """Plain letter to it and every letter that is it with accents, as folding leaves them."""
    found: dict[str, str] = {}
    for first, last in _COMPOSED:
        for code in range(first, last):
            mark = chr(code)
            base = plain(mark)
            if base != mark and fold(mark) == mark:
                found[base] = found.get(base, base) + mark
    return found
