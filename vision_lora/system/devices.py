"""Devices and precision: what `auto` means on this machine."""

from __future__ import annotations

import platform
import resource
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from lightning_fabric.strategies.strategy import Strategy

from vision_lora.errors import ConfigError


class Autocast(MixedPrecision):
    """Mixed precision that leaves the inputs alone: Fabric's own would round box coordinates to bf16 as well."""

    def convert_input(self, data: Any) -> Any:
        """The data, unchanged."""
        return data


def pick_device(name: str) -> torch.device:
    """The device that an option names; `auto` takes the first GPU, else the CPU.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"--device {name}: not usable on this machine; expected auto, cpu, cuda, cuda:1 or mps"
        ) from error
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the processor computes in bf16, so that it is faster and not only smaller than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def make_fabric(device: str, precision: str, devices: int = 1, together: Strategy | None = None) -> Fabric:
    """Lightning Fabric for the options `--device` and `--precision`.

    Args:
        device: as for `pick_device`.
        precision: auto, fp32, bf16 or fp16.
        devices: processes, each on a GPU of its own, or sharing the CPU.
        together: how several of them train.

    Raises:
        ConfigError: no such device, or fp16 on a CPU.
    """
    chosen = pick_device(device)
    if chosen.type == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(f"--devices {devices}: this machine has {torch.cuda.device_count()} GPUs")
    places = [chosen.index] if devices == 1 and chosen.index is not None else devices
    if precision == "auto":
        precision = "bf16" if has_bf16(chosen) else "fp32"
    if precision == "fp16" and chosen.type == "cpu":
        raise ConfigError("--precision fp16: not for the CPU; expected bf16 or fp32")
    plugins: dict[str, Precision] = {
        "fp32": Precision(),
        "bf16": Autocast("bf16-mixed", chosen.type),
        "fp16": Autocast("16-mixed", chosen.type),
    }
    strategy = together if devices > 1 and together is not None else "auto"
    return Fabric(accelerator=chosen.type, devices=places, strategy=strategy, plugins=plugins[precision])


def peak_memory_mib(device: torch.device) -> float:
    """Most memory so far, MiB: on a GPU what tensors took there, else what the process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
