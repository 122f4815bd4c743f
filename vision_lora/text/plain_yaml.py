"""YAML without surprises: words stay words, keys are text, and no key stands twice."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, ClassVar

import yaml

_TAG = "tag:yaml.org,2002:"


class PlainLoader(yaml.SafeLoader):
    """Safe YAML in which only `true`, `false`, `null` and plain decimal numbers are more than text.

    YAML 1.1 takes `no` for False, `010` for 8, `1:30` for 90, `2026-01-02` for a date; and where a key stands twice,
    the last one wins in silence.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event: yaml.AliasEvent = self.peek_event()  # type: ignore[no-untyped-call]
            if (known := self.anchors.get(event.anchor)) is not None and known.end_mark is None:
                mark: Any = event.start_mark
                raise yaml.MarkedYAMLError(None, None, f"*{event.anchor} stands in what it names", mark)
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[str, tuple[yaml.ScalarNode, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a key that is no text", key.start_mark)
            if key.value in first:
                self.doubled(key)
            else:
                first[key.value] = (key, value)
        node.value = list(first.values())
        return node

    def doubled(self, key: yaml.ScalarNode) -> None:
        """Refuse a key that stands twice in a mapping; where this returns, the first one counts."""
        mark: Any = key.start_mark
        raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} stands twice", mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


_WHOLE, _POWER = "[-+]?(?:0|[1-9][0-9]*)", "[eE][-+]?[0-9]+"
for _kind, _pattern, _letters in (
    ("bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", _WHOLE, "-+0123456789"),
    ("float", rf"(?:{_WHOLE}\.[0-9]*|[-+]?\.[0-9]+)(?:{_POWER})?|{_WHOLE}{_POWER}|[-+]?\.inf|\.nan", "-+.0123456789"),
    ("merge", "<<", "<"),
):
    PlainLoader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"(?:{_pattern})$"), list(_letters))


def load_plain(text: str) -> Any:
    """Parse YAML with `PlainLoader`.

    Raises:
        yaml.YAMLError: it is broken, or a key stands twice.
    """
    return yaml.load(text, Loader=PlainLoader)  # noqa: S506 (a SafeLoader)


def as_text(node: yaml.Node) -> None:
    """Make every scalar in a node the text that stands there: class names are no numbers, even `2.50` and `null`."""
    if isinstance(node, yaml.ScalarNode):
        node.tag = f"{_TAG}str"
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            as_text(item)
    elif isinstance(node, yaml.MappingNode):
        for _, item in node.value:
            as_text(item)
