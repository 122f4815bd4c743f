"""What the frozen base sees of a picture as a whole: pictures that look alike to it have features that are close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vision_lora.adapters.layers import sites
from vision_lora.detectors.base import Detector
from vision_lora.detectors.readout import Readout


def neck_features(detector: Detector, images: Tensor) -> Tensor:
    """Means over all positions of what each layer of the base's neck gives (global average pooling, Lin et al. 2014).

    The neck has what the head reads, at every scale. An attached adapter plays no part: features of pictures that were
    looked at with different adapters can be compared. A network without a neck is asked for its backbone's.

    Args:
        detector: whose base pass is run.
        images: (B, 3, S, S) uint8 RGB.

    Returns:
        (B, channels of all those layers) float32, on the CPU.
    """
    pooled: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001 - torch's signature
            # Some layers see the tokens of all pictures in one row, which says nothing of a picture.
            if isinstance(output, Tensor) and len(output) == len(images) and name not in pooled:
                dims = (2, 3) if output.ndim == 4 else tuple(range(1, output.ndim - 1))
                pooled[name] = output.float().mean(dims) if dims else output.float()

        return hook

    stages = {name: detector.stage(name) for name, layer in detector.network.named_modules() if sites(layer)}
    stage = "neck" if "neck" in stages.values() else "backbone"
    handles = [
        detector.network.get_submodule(name).register_forward_hook(watch(name))
        for name, at in stages.items()
        if at == stage
    ]
    try:
        detector.detect(images.to(detector.device), mode="general", readout=Readout(confidence=1.0))
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([pooled[name] for name in stages if name in pooled], 1).cpu()
