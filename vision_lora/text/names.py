"""Names of classes: what can be one, which look alike, and how text from outside is shown."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

LONGEST = 200  # letters: longer ones are sentences, and fit no table, label or event

# Invisible, but part of how Hindi, Persian, Arabic, Hebrew and emoji are written.
_JOINERS = frozenset("\u200c\u200d\u200e\u200f\u061c")


def strange(text: str) -> str:
    r"""The first letter of a text that no name can hold, in words; empty where there is none.

    Those are control characters, tabs and line breaks among them, invisible ones that serve no script, halves of
    letters (lone surrogates) and what Unicode keeps for no letter at all.

    Examples:
        >>> strange("deep\tscratch"), strange("キズ　大")
        ('U+0009', '')
    """
    for letter in text:
        if not _sound(letter):
            return f"U+{ord(letter):04X} {unicodedata.name(letter, '')}".strip()
    return ""


def unfit(name: str) -> str:
    r"""Why a text can be no class name, in words; empty where it can. All that is written with such a name reads back.

    Examples:
        >>> unfit("scratch"), unfit(" "), unfit("a\nb")
        ('', 'is empty', 'holds U+000A')
    """
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST:
        return f"has {len(name)} letters, more than {LONGEST}"
    return f"holds {letter}" if (letter := strange(name)) else ""


def twins(names: Sequence[str]) -> tuple[str, str] | None:
    """The first two names that are equal, or that nobody can tell apart: another kind of space, an invisible mark."""
    seen: dict[str, str] = {}
    for name in names:
        look = _look(name)
        if look in seen:
            return seen[look], name
        seen[look] = name
    return None


def near(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant: equal but for case, spaces, hyphens and underscores, or a typing error.

    Examples:
        >>> near("Deep Scratch", ["dent", "deep_scratch"]), near("dent", ["stain"])
        ('deep_scratch', None)
    """
    keys = {_key(one): one for one in known}
    close = difflib.get_close_matches(_key(name), keys, 1, 0.8)
    return keys[close[0]] if close else None


def same(name: str, known: Iterable[str]) -> str | None:
    """The known name that is equal but for case, spaces, hyphens and underscores."""
    return {_key(one): one for one in known}.get(_key(name))


def suggestion(name: str, known: Iterable[str]) -> str:
    """A name in quotes, with the known one that was probably meant.

    Examples:
        >>> suggestion("Scratch", ["scratch"])
        "'Scratch' (did you mean 'scratch'?)"
    """
    meant = near(name, known)
    return repr(name) + (f" (did you mean {meant!r}?)" if meant is not None else "")


def told(unknown: Sequence[str], known: Sequence[str]) -> str:
    """Some unknown names, each with what was probably meant, for one line."""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return ", ".join(suggestion(name, known) for name in unknown[:5]) + more


def pick(text: str, known: Collection[str]) -> list[str]:
    """The names in a list by comma; a comma may stand in a name, where it is a known one.

    Examples:
        >>> pick("dent, stain, dark", ["dent", "stain, dark"])
        ['dent', 'stain, dark']
    """
    words, names = text.split(","), []
    while words:
        for count in range(len(words), 0, -1):
            name = ",".join(words[:count]).strip()
            if name in known or count == 1:
                names.append(name)
                del words[:count]
                break
    return names


def legible(text: str) -> str:
    r"""A text from a stranger's file as a name: what no name can hold is replaced.

    Examples:
        >>> legible("a\x1b[2Jb")
        'a�[2Jb'
    """
    return "".join(letter if _sound(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text)


def shown(text: str) -> str:
    r"""A text as a terminal may have it: what would steer it, or turn the letters around, is written out.

    Examples:
        >>> print(shown("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter in "\n\t" or _sound(letter) else letter.encode("unicode_escape").decode() for letter in text
    )


def _sound(letter: str) -> bool:
    kind = unicodedata.category(letter)
    if kind in ("Cc", "Cs", "Zl", "Zp") or ord(letter) & 0xFFFE == 0xFFFE:
        return False
    return kind != "Cf" or letter in _JOINERS


def _look(name: str) -> str:
    """What is to be seen of a name."""
    text = "".join(letter for letter in unicodedata.normalize("NFC", name) if unicodedata.category(letter) != "Cf")
    return " ".join(text.split())


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", _look(name)).casefold())
