"""The closed list of layers: what a checkpoint may be made of, and what an architecture file may name.

It was made by building every detector that Ultralytics has an architecture file for, YOLOv3 to YOLO26 and RT-DETR, and
reading which classes its checkpoint names; besides, activations and plain layers that users put into architectures of
their own. None of them opens files, reaches the network or evaluates text, neither when it is made nor when it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from torch import nn

_TORCH = {
    "activation": "ELU GELU Hardsigmoid Hardswish Hardtanh LeakyReLU Mish MultiheadAttention PReLU ReLU ReLU6 SELU "
    "SiLU Sigmoid Softmax Softplus Tanh",
    "batchnorm": "BatchNorm2d",
    "container": "ModuleList Sequential",
    "conv": "Conv2d ConvTranspose2d",
    "dropout": "Dropout Dropout2d",
    "linear": "Identity Linear NonDynamicallyQuantizableLinear",
    "normalization": "GroupNorm LayerNorm",
    "padding": "ZeroPad2d",
    "pixelshuffle": "PixelShuffle",
    "pooling": "AdaptiveAvgPool2d AvgPool2d MaxPool2d",
    "sparse": "Embedding",
    "upsampling": "Upsample UpsamplingNearest2d",
}
_ULTRALYTICS = {
    "block": "A2C2f AAttn ABlock AConv ADown Attention Bottleneck BottleneckCSP C1 C2 C2PSA C2f C2fCIB C2fPSA C3 "
    "C3Ghost C3TR C3k C3k2 C3x CBFuse CBLinear CIB DFL ELAN1 GhostBottleneck HGBlock HGStem PSA PSABlock RepBottleneck "
    "RepC3 RepCSP RepNCSPELAN4 RepVGGDW ResNetBlock ResNetLayer SCDown SPP SPPELAN SPPF",
    "conv": "CBAM ChannelAttention Concat Conv Conv2 ConvTranspose DWConv DWConvTranspose2d Focus GhostConv LightConv "
    "RepConv SpatialAttention",
    "head": "Detect RTDETRDecoder v10Detect",
    "transformer": "AIFI DeformableTransformerDecoder DeformableTransformerDecoderLayer MLP MSDeformAttn "
    "TransformerBlock TransformerLayer",
}
# Heads of other tasks, so that their networks can be told as what they are: no detectors.
_OTHER_TASKS = {"block": "Proto Proto26 RealNVP", "head": "Classify OBB OBB26 Pose Pose26 Segment Segment26"}
_NETWORKS = {
    "tasks": "DetectionModel RTDETRDetectionModel ClassificationModel OBBModel PoseModel SegmentationModel",
}


def _classes(package: str, modules: Mapping[str, str]) -> dict[str, type[nn.Module]]:
    """The classes by module and name, those that the installed version has."""
    found: dict[str, type[nn.Module]] = {}
    for module, names in modules.items():
        own = import_module(f"{package}.{module}")
        found |= {f"{own.__name__}.{name}": getattr(own, name) for name in names.split() if hasattr(own, name)}
    return found


_torch = _classes("torch.nn.modules", _TORCH)
_blocks = {
    **_classes("ultralytics.nn.modules", _ULTRALYTICS),
    **_classes("ultralytics.nn.modules", _OTHER_TASKS),
}
_networks = _classes("ultralytics.nn", _NETWORKS)

# What a checkpoint may be made of, by the name that stands in its pickle.
LAYERS: dict[str, type[nn.Module]] = {
    **_torch,
    **_blocks,
    **_networks,
    # As versions of 2023 and 2024 called them.
    **{f"ultralytics.nn.modules.{layer.__name__}": layer for layer in _blocks.values()},
    "ultralytics.nn.modules.block.Silence": nn.Identity,
    "ultralytics.nn.tasks.YOLOv10DetectionModel": _networks["ultralytics.nn.tasks.DetectionModel"],
}

# What an architecture file may name.
BUILDABLE = frozenset(
    {layer.__name__ for layer in _blocks.values()} | {f"nn.{layer.__name__}" for layer in _torch.values()} | {"Silence"}
)
