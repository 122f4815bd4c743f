"""Devices and precision: what `auto` means on this machine."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision

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


def make_fabric(device: str, precision: str) -> Fabric:
    """Lightning Fabric for the options `--device` and `--precision`.

    Args:
        device: as for `pick_device`, or a number of GPUs.
        precision: auto, fp32, bf16 or fp16.

    Raises:
        ConfigError: no such device, or fp16 on a CPU.
    """
    if device.isdigit():
        count = int(device)
        if not 1 <= count <= torch.cuda.device_count():
            there = torch.cuda.device_count()
            raise ConfigError(f"--device {device}: this machine has {there} GPUs; expected 1 or more of them")
        chosen = torch.device("cuda")
        devices: list[int] | int = list(range(count))
    else:
        chosen = pick_device(device)
        devices = [chosen.index or 0] if chosen.type == "cuda" else 1
    if precision == "auto":
        precision = "bf16" if has_bf16(chosen) else "fp32"
    if precision == "fp16" and chosen.type == "cpu":
        raise ConfigError("--precision fp16: not for the CPU; expected bf16 or fp32")
    plugins: dict[str, Precision] = {
        "fp32": Precision(),
        "bf16": Autocast("bf16-mixed", chosen.type),
        "fp16": Autocast("16-mixed", chosen.type),
    }
    return Fabric(accelerator=chosen.type, devices=devices, plugins=plugins[precision])
