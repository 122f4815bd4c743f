"""Augmentation recipes: a short YAML list of albumentations transforms, applied to a picture and its boxes together."""

from __future__ import annotations

import functools
import inspect
import os
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_lora.datasets.safe_yaml import load_mapping
from vision_lora.datasets.sample import Boxes, Classes
from vision_lora.errors import ConfigError, DataError

MIN_SIDE = 2.0  # pixels at training size: a thinner box teaches nothing

Augmenter = Callable[[NDArray[np.uint8], Boxes, Classes, np.random.Generator], tuple[NDArray[np.uint8], Boxes, Classes]]


@dataclass(frozen=True)
class Recipe:
    """What happens to a training picture.

    Args:
        name: the recipe's name, for messages.
        transforms: albumentations class names with their arguments, in order.
        min_visibility: share of its area that a box must keep, else it is dropped.
        mosaic: how often a picture is put together from windows of four, 0 to 1.
        copy_paste: how often a defect of another picture is pasted onto a free place, 0 to 1.
    """

    name: str
    transforms: tuple[tuple[str, dict[str, Any]], ...] = field(default=(), hash=False)
    min_visibility: float = 0.2
    mosaic: float = 0.0
    copy_paste: float = 0.0

    def build(self) -> Augmenter:
        """The recipe as a function of (picture, boxes, classes, random generator); one per worker process."""
        if not self.transforms:
            return _unchanged
        library = _albumentations()
        pipeline = library.Compose(
            [getattr(library, name)(**arguments) for name, arguments in self.transforms],
            bbox_params=library.BboxParams(
                format="pascal_voc",
                label_fields=["classes"],
                min_visibility=self.min_visibility,
                min_width=MIN_SIDE,
                min_height=MIN_SIDE,
                clip=True,
            ),
        )
        return functools.partial(_apply, pipeline)


def recipe_folder() -> Path:
    """Where the built-in recipes lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "configs" / "augment"
    return installed if installed.is_dir() else package.parent / "configs" / "augment"


def load_recipe(name_or_path: str) -> Recipe:
    """Load a built-in recipe by name or a recipe of your own by path.

    Args:
        name_or_path: `surface`, `conveyor`, `none`, or a path that ends in .yaml.

    Raises:
        ConfigError: no such recipe, or the file has an unknown key, transform or argument.
    """
    folder = recipe_folder()
    if name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
    else:
        path = folder / f"{name_or_path}.yaml"
        choices = sorted(file.stem for file in folder.glob("*.yaml"))
        if name_or_path not in choices:
            raise ConfigError(
                f"no augmentation recipe {name_or_path!r}; expected {', '.join(choices)} or a path to a .yaml"
            )
    try:
        config = load_mapping(path)
    except DataError as error:
        raise ConfigError(str(error)) from None
    shares = {"min_visibility": 0.2, "mosaic": 0.0, "copy_paste": 0.0}
    unknown = set(config) - {"transforms", *shares}
    if unknown:
        raise ConfigError(f"{path}: unknown key {min(map(str, unknown))!r}; expected `transforms`, {', '.join(shares)}")
    for key in shares:
        shares[key] = config.get(key, shares[key])
        if isinstance(shares[key], bool) or not isinstance(shares[key], (int, float)) or not 0 <= shares[key] <= 1:
            raise ConfigError(f"{path}: `{key}` is {shares[key]!r}; expected 0 to 1")
    steps = config.get("transforms") or []
    if not isinstance(steps, list):
        raise ConfigError(f"{path}: `transforms` is a {type(steps).__name__}; expected a list")
    return Recipe(path.stem, tuple(_parse_step(step, path) for step in steps), **shares)


def _parse_step(step: Any, path: Path) -> tuple[str, dict[str, Any]]:
    """Check one transform of a recipe: albumentations itself only warns about a misspelt argument."""
    if isinstance(step, str):
        step = {step: {}}
    if not isinstance(step, dict) or len(step) != 1:
        raise ConfigError(f"{path}: {step!r} is no transform; expected for example `HorizontalFlip: {{p: 0.5}}`")
    ((name, arguments),) = step.items()
    library = _albumentations()
    kind = getattr(library, str(name), None)
    if not (inspect.isclass(kind) and issubclass(kind, library.BasicTransform)):
        raise ConfigError(f"{path}: albumentations has no transform {name!r}; expected one of its class names")
    if arguments is not None and not isinstance(arguments, dict):
        raise ConfigError(f"{path}: {name} has {arguments!r}; expected its arguments, such as {{p: 0.5}}")
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in (arguments or {}).items()}
    accepted = [key for key in inspect.signature(kind.__init__).parameters if key != "self"]
    for key in arguments:
        if key not in accepted:
            raise ConfigError(f"{path}: {name} has no argument {key!r}; expected {', '.join(accepted)}")
    try:
        kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {name}: {' '.join(str(error).split())}") from None
    return str(name), arguments


def _albumentations() -> Any:
    """albumentations, imported on demand (it takes seconds) and kept from asking the network for updates."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    with warnings.catch_warnings():
        # What it imports wants ipywidgets in a notebook, for progress bars that nobody here asks for.
        warnings.filterwarnings("ignore", "IProgress not found")
        import albumentations

    return albumentations


def _unchanged(
    image: NDArray[np.uint8], boxes: Boxes, classes: Classes, _rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Boxes, Classes]:
    return image, boxes, classes


def _apply(
    pipeline: Any, image: NDArray[np.uint8], boxes: Boxes, classes: Classes, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Boxes, Classes]:
    pipeline.set_random_state(rng, random.Random(int(rng.integers(2**63))))
    out = pipeline(image=image, bboxes=boxes, classes=classes)
    boxes = np.asarray(out["bboxes"], np.float32).reshape(-1, 4)
    return out["image"], boxes, np.asarray(out["classes"], np.int64).reshape(-1)
