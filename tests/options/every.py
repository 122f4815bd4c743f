"""Every class of options in the package, found in its text: none is forgotten."""

from __future__ import annotations

import ast
import importlib
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import vision_lora
from vision_lora.options.option import Options

PACKAGE = Path(vision_lora.__file__).parent


def classes() -> list[type[Options]]:
    """All classes with a field that `option` makes, or a function named after a kind of option."""
    return [
        getattr(importlib.import_module(module), name)
        for file in sorted(PACKAGE.rglob("*.py"))
        for name in _names(ast.parse(file.read_text(encoding="utf-8")))
        for module in [".".join(("vision_lora", *file.relative_to(PACKAGE).with_suffix("").parts))]
    ]


def _names(tree: ast.Module) -> list[str]:
    made = ("option", "side", "seed", "tile", "threads", "workers")
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(
            isinstance(line, ast.AnnAssign)
            and isinstance(line.value, ast.Call)
            and ast.unparse(line.value.func).rpartition(".")[2] in made
            for line in node.body
        )
    ]


def options(config: type[Options]) -> list[Field[Any]]:
    """What is given on the command line, in a YAML file, or from Python."""
    return [item for item in fields(config) if "help" in item.metadata]  # type: ignore[arg-type]


def kinds(config: type[Options], name: str) -> tuple[Any, ...]:
    """The kinds of value that an option takes."""
    hint = get_type_hints(config)[name]
    return get_args(hint) or (hint,)
