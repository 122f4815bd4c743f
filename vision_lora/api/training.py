"""Training from Python: `fit`, with the options of `vision-lora train`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from vision_lora.api.detector import Detector
from vision_lora.api.options import make_options
from vision_lora.evaluation.coco_map import ClassResult, MapResult
from vision_lora.options.train import TrainConfig
from vision_lora.training import session
from vision_lora.training.loop.listener import Listener

OnEpoch = Callable[[Mapping[str, float]], object]
Given = TypeVar("Given")
Gives = TypeVar("Gives")
Parameters = ParamSpec("Parameters")


@dataclass(frozen=True)
class Trained:
    """What a training run gave.

    Attributes:
        file: the adapter; with another method than `lora` a checkpoint.
        folder: of the run, with curves, predictions and the table of epochs.
        model: the base that was trained on.
        val: how well the file does on the validation pictures.
        best_epoch: the epoch that it is of, from 1.
        summary: all that `summary.json` holds: sizes, times, versions, what was skipped.
    """

    file: Path
    folder: Path
    model: str
    val: MapResult
    best_epoch: int
    summary: Mapping[str, Any]

    def detector(self, *, device: str = "auto") -> Detector:
        """The trained detector, loaded from its file."""
        if self.summary["method"] == "lora":
            return Detector.load(self.model, adapter=self.file, device=device)
        return Detector.load(self.file, device=device)


@dataclass(frozen=True)
class _Given(TrainConfig):
    """The options of `train`, and what only a program can give."""

    on_epoch: OnEpoch | None = None


def _options_of(
    options: Callable[Parameters, Given],
) -> Callable[[Callable[[Given], Gives]], Callable[Parameters, Gives]]:
    """Let a function that takes an object of options be called with the options themselves, by name."""

    def decorate(function: Callable[[Given], Gives]) -> Callable[Parameters, Gives]:
        signature = inspect.signature(options)

        @wraps(function)
        def called(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Gives:
            bound = signature.bind(*args, **kwargs).arguments  # a TypeError that names this function's own options
            return function(make_options(cast(type[Given], options), **bound))

        called.__signature__ = signature.replace(return_annotation="Trained")  # type: ignore[attr-defined]
        return called

    return decorate


@_options_of(_Given)
def fit(options: _Given) -> Trained:
    """Teach a detector the classes of a dataset, as `vision-lora train` does; nothing is printed.

    It is not called `train`, as that is the name of the verb's module. Options are those of the command line, with `_`
    for `-`; `vision-lora train --help` explains each. With `workers` above 0, the default, a script needs
    `if __name__ == "__main__":` around the call wherever Python does not fork (macOS, Windows).

    Args:
        options: given one by one: `data`, the dataset, is required; and `on_epoch`, called after each epoch with what
            `results.csv` says of it: epoch, lr, each loss, map50_95 and map50 on val, images_per_second. An exception
            in it ends the run, which `resume=` goes on with.

    Raises:
        VisionLoraError: any mistake of the user; nothing has been written then.

    Examples:
        >>> from vision_lora import fit
        >>> run = fit(data="defects.yaml", epochs=5, on_epoch=lambda row: print(row["map50"]))  # doctest: +SKIP
        >>> run.val.map50_95, run.detector().predict("pictures/")  # doctest: +SKIP
    """
    config = TrainConfig(**{item.name: getattr(options, item.name) for item in fields(TrainConfig)})
    summary = session.train(config, _Epochs(options.on_epoch))
    return Trained(
        summary.result,
        summary.out,
        summary.model,
        _scores(summary.values),
        summary.values["best_epoch"],
        summary.values,
    )


class _Epochs(Listener):
    """Hands on each epoch."""

    def __init__(self, on_epoch: OnEpoch | None) -> None:
        self._on_epoch = on_epoch

    def validated(self, row: Mapping[str, float], *, best: bool) -> None:  # noqa: ARG002 - the protocol's
        if self._on_epoch is not None:
            self._on_epoch(dict(row))


def _scores(values: Mapping[str, Any]) -> MapResult:
    """The scores in a run's summary."""
    scores = {item.name: values[item.name] for item in fields(MapResult)}
    return MapResult(**scores | {"per_class": {name: ClassResult(**row) for name, row in scores["per_class"].items()}})
