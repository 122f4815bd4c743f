"""YAML from strangers: no tags, no aliases, no surprises of size or depth; class names are text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vision_lora.errors import DataError
from vision_lora.system.files import irregular
from vision_lora.text.plain_yaml import PlainLoader, as_text

MAX_BYTES = 500_000  # a thousand classes take 30,000; parsing more is only slow


Told = Callable[[str, str], None]


class _StrangersLoader(PlainLoader):
    """Plain YAML without aliases: they are how a few lines become a billion (and dataset files need none).

    Args:
        text: to be parsed.
        told: takes the place and the words of a key that stands twice, which is refused where nobody is told.
    """

    def __init__(self, text: str, told: Told | None) -> None:
        super().__init__(text)
        self._told = told

    def doubled(self, key: yaml.ScalarNode) -> None:
        if self._told is None:
            super().doubled(key)
        else:
            self._told(f"line {key.start_mark.line + 1}", f"the key {key.value!r} stands twice")

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"line {mark.line + 1}: an alias (*name), which is refused here: write the value out")
        return super().compose_node(parent, index)

    def compose_document(self) -> yaml.Node | None:
        document = super().compose_document()
        if isinstance(document, yaml.MappingNode):
            for key, value in document.value:
                if key.value == "names":
                    as_text(value)
        return document


def load_mapping(path: Path, told: Told | None = None) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: the file, at most `MAX_BYTES` long.
        told: takes the place and the words of a key that stands twice, of which the first counts; without, it is
            refused.

    Returns:
        The mapping. Keys are text, and so is everything in `names`: the text that stands there.

    Raises:
        DataError: missing, too large, not UTF-8, not YAML, tagged, aliased, nested too deep, with a key twice, or no
            mapping.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size:,} bytes of YAML; expected at most {MAX_BYTES:,}")
        if found := irregular(path):
            raise DataError(f"{path}: {found}; expected a YAML file")
        loader = _StrangersLoader(path.read_text(encoding="utf-8-sig"), told)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, byte {error.start}: not UTF-8 text; expected a YAML file") from None
    except RecursionError:
        raise DataError(f"{path}: nested too deep; expected a plain YAML mapping") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise DataError(
            f"{path}{line}: {' '.join((error.problem or 'broken YAML').split())}; expected plain YAML"
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}; expected plain YAML") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}; expected a mapping such as `names: [scratch, dent]`")
    return value
