"""Scripts that complete `vision-lora` in a shell: verbs, their options, and the words that an option takes.

Such a script is plain shell: pressing Tab starts no Python. It is made from the options alone, without torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, get_type_hints

import shtab

from vision_lora.options.camera import CameraConfig
from vision_lora.options.compare import BenchmarkConfig, CompareConfig
from vision_lora.options.detect import EvaluateConfig, PredictConfig, ProposeConfig, RetentionConfig
from vision_lora.options.help import PROGRAM, choices, line, options
from vision_lora.options.option import Options, flag
from vision_lora.options.tools import CheckConfig, DemoConfig, ExportConfig, InspectConfig, ModelsConfig
from vision_lora.options.train import TrainConfig

SHELLS = ("bash", "zsh")

OPTIONS: Mapping[str, type[Options]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "retention": RetentionConfig,
    "predict": PredictConfig,
    "camera": CameraConfig,
    "propose": ProposeConfig,
    "compare": CompareConfig,
    "benchmark": BenchmarkConfig,
    "check": CheckConfig,
    "export": ExportConfig,
    "inspect": InspectConfig,
    "models": ModelsConfig,
    "demo": DemoConfig,
}


def script(shell: str) -> str:
    """The script for one of `SHELLS`, which the shell evaluates when it starts."""
    parser = argparse.ArgumentParser(PROGRAM)
    parser.add_argument("--version", action="store_true", help="show the version")
    parser.add_argument("--completion", choices=SHELLS, help="print the script that completes in a shell")
    verbs = parser.add_subparsers()
    for verb, config in OPTIONS.items():
        told = (config.__doc__ or "").partition("\n")[0].replace("%", "%%")
        _add_options(verbs.add_parser(verb, help=told, description=told), config)
    made: str = shtab.complete(parser, shell)
    return made


def _add_options(parser: argparse.ArgumentParser, config: type[Options]) -> None:
    """Add all options of a verb: what takes any text may be a file."""
    hints = get_type_hints(config)
    for item in options(config):
        hint = hints[item.name]
        how: dict[str, Any] = {"action": "store_true"} if hint is bool else {"choices": choices(hint) or None}
        action = parser.add_argument(
            item.name if item.metadata["positional"] else flag(item.name), help=line(item), **how
        )
        if hint is not bool and item.metadata["limits"] is None and not choices(hint):
            _complete_files(action)
        if item.metadata["repeated"]:  # a second value stands where a positional one would
            _complete_files(parser.add_argument(item.name + " more", nargs="*"))
    _complete_files(parser.add_argument("--config", help="YAML file with any of these options"))
    for name in ("--print-config", "--version"):
        parser.add_argument(name, action="store_true", help=name[2:])


def _complete_files(action: argparse.Action) -> None:
    action.complete = shtab.FILE  # type: ignore[attr-defined]
