"""User, password and query of every URL in a text, hidden before anybody reads it."""

from __future__ import annotations

import re

# A password may hold any sign, `/`, `@` and `?` among them: what stands before the last `@` of a URL is hidden as a
# whole, and so is a query, where many cameras expect user and password.
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)(\S*)", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with user, password and query of every URL in it replaced.

    Examples:
        >>> redact("no answer from http://10.0.0.3/video?user=a&pwd=b after 5 s")
        'no answer from http://10.0.0.3/video?*** after 5 s'
    """
    return _URL.sub(_redacted, text)


def _redacted(match: re.Match[str]) -> str:
    scheme, rest = match.groups()
    before, at, after = rest.rpartition("@")
    place = f"***@{after}" if at else before + after
    path, mark, _ = place.partition("?")
    return scheme + path + ("?***" if mark else "")
