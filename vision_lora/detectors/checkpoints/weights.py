"""Ultralytics' checkpoints and architectures: from a name to a network, without running code from a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, yaml_model_load
from ultralytics.utils import SETTINGS
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

from vision_lora.adapters.weights.tensors import brief
from vision_lora.detectors.checkpoints.layer_list import BUILDABLE
from vision_lora.detectors.checkpoints.revive import ALLOWED, Reviver
from vision_lora.detectors.checkpoints.torch_file import open_torch_file
from vision_lora.detectors.checkpoints.unpickler import ForeignCodeError, Record
from vision_lora.errors import CheckpointError, MissingCheckpointError

ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z0-9]+\(([a-z_]+=)?[\w.+-]*\)")


def find_checkpoint(name: str) -> Path:
    """The file that a path or an official name means; official files are downloaded once, through Ultralytics.

    Raises:
        MissingCheckpointError: there is no such file, or the download failed.
        CheckpointError: it is a folder.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.exists():
        found = "a folder" if path.is_dir() else "a pipe or a device"
        raise CheckpointError(f"{name}: expected a checkpoint file, found {found}")
    if not official(name):
        raise MissingCheckpointError(
            f"{name}: no such checkpoint",
            "give the path of a .pt file, an official name such as yolo11n.pt, or starter, the base that ships with "
            "the package",
        )
    try:
        path, reason = Path(attempt_download_asset(name)), "nothing came"
    except (OSError, RuntimeError) as error:  # Ultralytics raises ConnectionError, an OSError, or RuntimeError
        reason = " ".join(str(error).split())
    if not path.is_file():
        raise MissingCheckpointError(
            f"{name}: the download failed ({reason})",
            "without internet, take the base that ships with the package, --model starter, or copy the file to this "
            f"machine: --model /path/to/{name}",
        )
    return path


def official(name: str) -> bool:
    """Whether a name is that of a checkpoint which Ultralytics offers."""
    return name in GITHUB_ASSETS_NAMES


def downloads() -> Path:
    """The folder in which Ultralytics looks for what it has downloaded."""
    return Path(SETTINGS["weights_dir"])


def read_network(name: str) -> tuple[nn.Module, str]:
    """The network that a checkpoint's path, an official name or an architecture means, and what to call it.

    Raises:
        CheckpointError: missing, broken or unsafe file, or no network in it.
    """
    if is_architecture(name):
        return build_network(name), Path(name).name
    path = find_checkpoint(name)
    return network_in(read_checkpoint(path), path), path.name


def is_architecture(name: str) -> bool:
    """Whether a name means an architecture, not a checkpoint."""
    return name.endswith((".yaml", ".yml"))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what a checkpoint holds: plain data, tensors and, under `model`, a network, its averaged weights if there.

    Nothing in the file is called: see `unpickler` and `revive`. A name of code that no checkpoint holds is refused
    before anything is made.

    Raises:
        CheckpointError: the file is broken, or names other code.
    """
    try:
        with open_torch_file(path, ALLOWED) as file:
            content = file.content.items if isinstance(file.content, Record) else file.content
            if not isinstance(content, dict):
                return {}
            if {"model", "ema"} & content.keys():  # what else a training left is not read
                kept = {name: content[name] for name in ("builder", "names") if name in content}
                content = {"model": content.get("ema") or content.get("model"), **kept}
            revived: dict[str, Any] = Reviver(file).revive(content)
            return revived
    except ForeignCodeError as error:
        raise CheckpointError(
            f"{path}: refused, its pickle names code outside the allow-list ({error}); expected a checkpoint that "
            "Ultralytics saved of a detector, from a source you trust"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or brief(error)})") from error
    # RefusedPickleError; the others are of a layer's `__setstate__`, which finds less than it counts on.
    except (ValueError, RuntimeError, MemoryError, AttributeError, TypeError, LookupError) as error:
        reason = brief(error) or type(error).__name__
        raise CheckpointError(f"{path}: not a readable checkpoint ({reason})") from error


def network_in(checkpoint: dict[str, Any], path: Path) -> nn.Module:
    """The network of an Ultralytics checkpoint, its averaged weights where it has them, in fp32.

    Raises:
        CheckpointError: there is none.
    """
    network = checkpoint.get("model")
    if not isinstance(network, nn.Module):
        raise CheckpointError(
            f"{path}: holds no network; expected an Ultralytics checkpoint with `model` or `ema` "
            f"(weights of torchvision: torchvision:NAME:{path})"
        )
    with making(str(path)):
        return network.float().eval()


def build_network(name: str) -> nn.Module:
    """A detection network from an architecture file, by path or by a name such as `yolo11n.yaml`, with random weights.

    Raises:
        CheckpointError: no such file, or no architecture in it.
    """
    missing = f"{name}: no such architecture; expected a path, or a name such as yolo11n.yaml"
    if "://" in name:  # Ultralytics downloads from addresses
        raise CheckpointError(missing)
    try:
        layers: Any = yaml_model_load(name)
    except (FileNotFoundError, yaml.YAMLError) as error:
        raise CheckpointError(missing) from error
    check_architecture(name, layers)
    decodes = layers["head"][-1][2] == "RTDETRDecoder"
    kind: Any = RTDETRDetectionModel if decodes else DetectionModel
    before = Conv.default_act
    try:
        with making(name):
            network: nn.Module = kind(layers, verbose=False)
    finally:
        Conv.default_act = before  # an architecture's activation would be that of all that are built after it
    return network.eval()


@contextmanager
def making(name: str) -> Iterator[None]:
    """Turn what layers raise that are put together wrongly into one line.

    Args:
        name: of what is made of them.

    Raises:
        CheckpointError: a layer raised something.
    """
    try:
        yield
    # What a wrong module, channel number, argument or attribute raises depends on the module.
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, SyntaxError) as error:
        text = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{name}: cannot be built ({type(error).__name__}: {text})") from error


def check_architecture(name: str, layers: Any) -> None:
    """Make sure that Ultralytics can build an architecture without running what is written in it.

    It would evaluate an activation, and call whatever its own module has under the name of a layer, what loads pickles
    among it.

    Args:
        name: what the architecture is called.
        layers: what its file holds.

    Raises:
        CheckpointError: it is none, or names other code than layers.
    """
    if not isinstance(layers, dict) or not {"backbone", "head", "nc"} <= layers.keys():
        raise CheckpointError(f"{name}: no architecture of a detector; expected `nc`, `backbone` and `head` in it")
    activation = str(layers.get("activation") or "")
    if activation and not ACTIVATION.fullmatch(activation):
        raise CheckpointError(f"{name}: activation {activation[:60]!r}; expected one of torch.nn, such as nn.SiLU()")
    for part in ("backbone", "head"):
        rows = layers[part]
        whole = isinstance(rows, list) and all(isinstance(row, list) and len(row) == 4 for row in rows)
        if not whole or not rows:
            raise CheckpointError(
                f"{name}: {part}: expected a list of layers, each as [from, repeats, layer, arguments]"
            )
        for _, _, layer, _ in rows:
            if not isinstance(layer, str) or layer not in BUILDABLE:
                raise CheckpointError(f"{name}: {part}: {str(layer)[:60]!r} is no layer that a detector can be made of")
