"""Survey: what one pass over a black picture shows of each layer, for networks of any architecture.

The *stem* reads the picture itself. Its outputs are the largest of all, so adapting it costs the most time and memory,
and nothing is gained: on NEU-DET's val split mAP is the same without (data/results/neu-det/recipe.json).

*Early* layers work while the picture is still large. In YOLO11n they take a sixth of the inference, of a training step
and of its memory. What they see, edges and blobs, a general detector's already do: torchvision and Detectron2 freeze
the same layers of their backbones even where all others are fine-tuned (`trainable_backbone_layers=3`, `FREEZE_AT=2`).
With few pictures mAP is higher without them, with many it is lower (data/results/neu-det/early.json).

*Overwritten* outputs are changed in place by what comes next, an activation or a residual sum: no backward can keep
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from vision_lora.adapters.layers import sites

LARGE = 1 / 4  # of the picture's side


class Survey(NamedTuple):
    """Names of layers that could be adapted.

    Attributes:
        stem: those that read the picture itself: first convolutions, a ViT's embedding of patches.
        early: the stem, and those before the first one whose output has less than `LARGE` the picture's side.
        overwritten: those whose output is changed in place later.
    """

    stem: frozenset[str]
    early: frozenset[str]
    overwritten: frozenset[str]


def survey(network: nn.Module, run: Callable[[], object]) -> Survey:
    """Look at each layer while `run` runs the network on one picture."""
    outputs: dict[str, tuple[Tensor, int]] = {}  # by name, with the version; in the order of their first calls
    enough = 0.0  # positions that a large output has

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            nonlocal enough
            if _reads_picture(layer) and not enough:
                enough = _positions(layer, inputs[0]) * LARGE**2
            if isinstance(output, Tensor) and name not in outputs:
                outputs[name] = (output, output._version)

        return hook

    layers = {name: layer for name, layer in network.named_modules() if sites(layer)}
    handles = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    stem = frozenset(name for name in outputs if _reads_picture(layers[name]))
    early = set(stem)
    for name, (output, _) in outputs.items():
        if name not in early and _positions(layers[name], output) < enough:
            break
        early.add(name)
    overwritten = frozenset(name for name, (output, before) in outputs.items() if output._version > before)
    return Survey(stem, frozenset(early), overwritten)


def _reads_picture(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.in_channels == 3


def _positions(layer: nn.Module, values: Tensor) -> int:
    """How many pixels or tokens."""
    return values.numel() // values.shape[1 if isinstance(layer, nn.Conv2d) else -1]
