"""Ultralytics' checkpoints and architectures: from a name to a network, without running code from a file."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel, torch_safe_load, yaml_model_load
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

from vision_lora.errors import CheckpointError

ACTIVATION = re.compile(r"(torch\.)?nn\.[A-Za-z0-9]+\(([a-z_]+=)?[\w.+-]*\)")


def find_checkpoint(name: str) -> Path:
    """The file that a path or an official name means; official files are downloaded once, through Ultralytics.

    Raises:
        CheckpointError: there is no such file, or the download failed.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.exists():
        raise CheckpointError(f"{name}: expected a checkpoint file, found a folder")
    if path.name != name or name not in GITHUB_ASSETS_NAMES:
        raise CheckpointError(
            f"{name}: no such checkpoint; give the path of a .pt file, an official name such as yolo11n.pt, "
            "or starter, the base that ships with the package"
        )
    try:
        found = Path(attempt_download_asset(name))
    except (OSError, RuntimeError) as error:  # Ultralytics raises ConnectionError, an OSError, or RuntimeError
        raise CheckpointError(
            f"{name}: the download failed ({' '.join(str(error).split())}); without internet, take the base that "
            f"ships with the package, --model starter, or copy the file to this machine: --model /path/to/{name}"
        ) from error
    if not found.is_file():
        raise CheckpointError(f"{name}: the download failed; copy the file to this machine and give its path")
    return found


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
    """Read what a checkpoint holds.

    The pickle is read with PyTorch's `weights_only` unpickler and an allow-list: tensors, containers, and the module
    classes of `torch.nn` and `ultralytics.nn`. Any other name in the file is refused before anything runs.

    Raises:
        CheckpointError: the file is broken, or names other code.
    """
    try:
        if path.suffix == ".pt":
            checkpoint, _ = torch_safe_load(str(path), safe_only=True)
        else:  # Ultralytics knows no other
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (
        TypeError,
        RuntimeError,
        ImportError,
        AttributeError,
        KeyError,
        OSError,
        EOFError,
        pickle.PickleError,
    ) as error:
        raise CheckpointError(_reason(path, error)) from error
    return checkpoint if isinstance(checkpoint, dict) else {}


def network_in(checkpoint: dict[str, Any], path: Path) -> nn.Module:
    """The network of an Ultralytics checkpoint, its averaged weights where it has them, in fp32.

    Raises:
        CheckpointError: there is none.
    """
    network = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(network, nn.Module):
        raise CheckpointError(
            f"{path}: holds no network; expected an Ultralytics checkpoint with `model` or `ema` "
            f"(weights of torchvision: torchvision:NAME:{path})"
        )
    return network.float().eval()


def build_network(name: str) -> nn.Module:
    """A detection network from an architecture file, by path or by a name such as `yolo11n.yaml`, with random weights.

    Raises:
        CheckpointError: no such file, or no architecture in it.
    """
    try:
        layers: Any = yaml_model_load(name)
    except (FileNotFoundError, yaml.YAMLError) as error:
        raise CheckpointError(
            f"{name}: no such architecture; expected a path, or a name such as yolo11n.yaml"
        ) from error
    if not isinstance(layers, dict) or not {"backbone", "head", "nc"} <= layers.keys():
        raise CheckpointError(f"{name}: no architecture of a detector; expected `nc`, `backbone` and `head` in it")
    activation = str(layers.get("activation") or "")
    if activation and not ACTIVATION.fullmatch(activation):  # Ultralytics would run it as code
        raise CheckpointError(f"{name}: activation {activation[:60]!r}; expected one of torch.nn, such as nn.SiLU()")
    before = Conv.default_act
    try:
        decodes = layers["head"][-1][2] == "RTDETRDecoder"
        kind: Any = RTDETRDetectionModel if decodes else DetectionModel
        network: nn.Module = kind(layers, verbose=False)
    # What a wrong module, channel number or argument raises depends on the module.
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, SyntaxError) as error:
        text = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{name}: cannot be built ({type(error).__name__}: {text})") from error
    finally:
        Conv.default_act = before  # an architecture's activation would be that of all that are built after it
    return network.eval()


def _reason(path: Path, error: Exception) -> str:
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (ValueError, RuntimeError, OSError, EOFError, pickle.PickleError):
        names = []
    foreign = [name for name in names if not name.startswith(("torch.", "ultralytics.", "collections.", "numpy."))]
    foreign = [name for name in foreign if name not in ("builtins.set", "builtins.getattr")]
    if foreign:
        return (
            f"{path}: refused, its pickle names code outside the allow-list ({', '.join(sorted(foreign)[:3])}); "
            "use a checkpoint from a source you trust, saved by Ultralytics"
        )
    return f"{path}: not a readable checkpoint ({' '.join(str(error).split())[:200]})"
