"""What comes in over the network, checked before anything is done with it."""

from __future__ import annotations

import json
from typing import Any

from vision_lora.adapters.weights.tensors import brief, reject_doubles
from vision_lora.errors import ConfigError

LONGEST = 65_536  # bytes of a request's body: a threshold for each of a thousand classes
# What a source can be watched with, and the JSON that says it. Ranges are the business of `Choice`, names of `Service`.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "adapter": ((str, type(None)), "the name of an adapter, or null"),
    "mode": ((str,), "general, defects or both"),
    "confidence": ((int, float, type(None)), "a number above 0, at most 1, or null for the adapter's own thresholds"),
    "thresholds": ((dict,), "a number for each class"),
}


def read_change(body: bytes) -> dict[str, Any]:
    """What a source shall be watched with, from JSON: any of `adapter`, `mode`, `confidence` and `thresholds`.

    Examples:
        >>> read_change(b'{"mode": "both", "thresholds": {"dent": 0.4}}')
        {'mode': 'both', 'thresholds': {'dent': 0.4}}

    Raises:
        ConfigError: no JSON, nothing that can be changed, or a value of another kind.
    """
    try:
        wanted = json.loads(body, object_pairs_hook=reject_doubles)
    except (ValueError, RecursionError) as error:  # also where a text is no UTF-8, and where lists are nested too deep
        raise ConfigError(f"no JSON: {brief(error)}") from None
    if not isinstance(wanted, dict) or not wanted:
        raise ConfigError(f"expected a JSON object with any of {', '.join(_KINDS)}")
    for key, value in wanted.items():
        if key not in _KINDS:
            raise ConfigError(f"{shown(key)}: unknown; expected any of {', '.join(_KINDS)}")
        kinds, expected = _KINDS[key]
        if not isinstance(value, kinds):
            raise ConfigError(f"{key} {shown(value)}: expected {expected}")
    return wanted


def shown(value: object) -> str:
    r"""A stranger's value in an error: short, and with nothing that cannot be printed.

    Examples:
        >>> shown("a" * 1000)[-5:]
        'aaaa…'
        >>> shown(chr(0xD800))
        "'\\ud800'"
    """
    text = repr(value) if isinstance(value, (str, int, float, type(None))) else f"of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"
