"""Checkpoints: from a name or a path to a file, and from a file to a network, without running code from it."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import torch
from torch import nn
from ultralytics.nn.tasks import torch_safe_load
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

from vision_lora.errors import CheckpointError

log = logging.getLogger(__name__)


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
            f"{name}: no such checkpoint; give the path of a .pt file, or an official name such as yolo11n.pt"
        )
    try:
        found = Path(attempt_download_asset(name))
    except (OSError, RuntimeError) as error:  # Ultralytics raises ConnectionError, an OSError, or RuntimeError
        raise CheckpointError(
            f"{name}: the download failed ({' '.join(str(error).split())}); without internet, copy the file to this "
            f"machine and give its path: --model /path/to/{name}"
        ) from error
    if not found.is_file():
        raise CheckpointError(f"{name}: the download failed; copy the file to this machine and give its path")
    return found


def load_network(path: Path) -> nn.Module:
    """Read the network of an Ultralytics checkpoint, its averaged weights where it has them, in fp32.

    The pickle is read with PyTorch's `weights_only` unpickler and an allow-list: tensors, containers, and the module
    classes of `torch.nn` and `ultralytics.nn`. Any other name in the file is refused before anything runs.

    Raises:
        CheckpointError: the file is broken, names other code, or holds no network.
    """
    try:
        checkpoint, _ = torch_safe_load(str(path), safe_only=True)
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
    network = checkpoint.get("ema") or checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(network, nn.Module):
        raise CheckpointError(f"{path}: holds no network; expected an Ultralytics checkpoint with `model` or `ema`")
    return network.float().eval()


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
