"""New adapters: which layers of a detector they change, and untrained ones for new classes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from vision_lora.adapters.adapter import Adapter, Card
from vision_lora.adapters.plan import Plan, make_plan
from vision_lora.adapters.weights.deltas import VARIANTS, LowRank
from vision_lora.detectors.base import Detector
from vision_lora.detectors.network.rows import grow_rows
from vision_lora.errors import ClassClashError, ConfigError
from vision_lora.options.placement import PLACEMENTS, Placement
from vision_lora.text.names import same

log = logging.getLogger(__name__)

_STEM = "stem: reads the picture; costs the most and gains nothing"
_EARLY = "early: the picture is still large; costs much, and gains nothing with few pictures"


def plan_adapter(
    detector: Detector,
    classes: int,
    *,
    rank: int = 8,
    variant: str = "lora",
    placement: Placement = "all",
    layers: Collection[str] | None = None,
) -> Plan:
    """Which layers an adapter for so many new classes would change, and why not the others.

    Args:
        detector: the base.
        classes: number of new classes.
        rank: rank of the low-rank factors, capped per layer.
        variant: kind of delta, a name of `vision_lora.adapters.weights.deltas.VARIANTS`.
        placement: which stages are adapted.
        layers: only these of them; the classes' layers are adapted always.
    """
    if placement not in PLACEMENTS:
        raise ConfigError(f"placement {placement!r} is unknown: expected one of {', '.join(PLACEMENTS)}")
    stages, seen = PLACEMENTS[placement], detector.survey()
    early = seen.early if placement == "deep" else ()
    within: Callable[[str], bool] = lambda layer: (  # noqa: E731
        detector.stage(layer) in stages and (layers is None or layer in layers)
    )
    return make_plan(
        detector.network,
        rank=rank,
        variant=variant,
        class_layers=detector.class_layers(),
        new_classes=classes,
        fixed={**dict.fromkeys(early, _EARLY), **dict.fromkeys(seen.stem, _STEM), **detector.fixed_layers()},
        within=within,
    )


def new_adapter(
    detector: Detector,
    names: Sequence[str],
    *,
    rank: int = 8,
    alpha: float | None = None,
    variant: str = "lora",
    placement: Placement = "all",
    layers: Collection[str] | None = None,
    imgsz: int = 640,
    joint: bool = False,
) -> Adapter:
    """An untrained adapter for new classes, not attached yet.

    Args:
        detector: the base.
        names: the new classes.
        rank: rank of the low-rank factors, capped per layer.
        alpha: numerator of the factor before B·A; None takes the variant's default.
        variant: kind of delta, a name of `vision_lora.adapters.weights.deltas.VARIANTS`.
        placement: which stages are adapted.
        layers: only these of them; None for all.
        imgsz: side of the square pictures that it will be trained on, pixels.
        joint: whether its pass keeps the base's classes in front of the new ones.

    Raises:
        AdapterError: no name, a name twice, a rank below 1, an unknown variant, or nothing to adapt.
    """
    plan = plan_adapter(detector, len(names), rank=rank, variant=variant, placement=placement, layers=layers)
    return planned_adapter(detector, names, plan, alpha=alpha, imgsz=imgsz, joint=joint)


def planned_adapter(
    detector: Detector,
    names: Sequence[str],
    plan: Plan,
    *,
    alpha: float | None = None,
    imgsz: int = 640,
    joint: bool = False,
) -> Adapter:
    """An untrained adapter for new classes as a plan has it, not attached yet.

    Args:
        detector: the base.
        names: the new classes.
        plan: from `plan_adapter`, for this base and so many classes.
        alpha: numerator of the factor before B·A; None takes the variant's default.
        imgsz: side of the square pictures that it will be trained on, pixels.
        joint: whether its pass keeps the base's classes in front of the new ones.

    Raises:
        AdapterError: no name, or a name twice.
    """
    if not names or len(set(names)) < len(names):
        raise ClassClashError(f"new classes {list(names)}: expected at least one, each name once")
    if alpha is None:
        rank = max((entry.rank for entry in plan.adapted), default=0)
        kinds = (VARIANTS[entry.variant] for entry in plan.adapted if entry.rank)
        alpha = next((kind.default_alpha(rank) for kind in kinds if issubclass(kind, LowRank)), 1.0)
    card = Card(detector.family, detector.base, detector.fingerprint, tuple(names), float(alpha), imgsz)
    adapter = Adapter.from_plan(plan, card, joint=joint)
    with torch.no_grad():
        for layer, rows in adapter.class_rows.items():
            detector.initialise_rows(rows.weight, rows.bias, layer)
    return adapter.to(detector.device)


def grow_adapter(detector: Detector, adapter: Adapter, names: Sequence[str], *, imgsz: int = 640) -> Adapter:
    """An adapter that goes on from another: the same factors, and untrained rows for further classes.

    Args:
        detector: the base.
        adapter: made for this base. Where it is a joint one its classes stay, in front of the further ones.
        names: the further classes.
        imgsz: side of the square pictures that it will be trained on, pixels.

    Raises:
        AdapterError: no name, or one that the adapter has already.
    """
    kept = adapter.card.names if adapter.joint else ()
    if not names or len({*names, *kept}) < len(names) + len(kept):
        raise ClassClashError(f"new classes {list(names)} behind {list(kept)}: expected at least one, each name once")
    for name in names:
        if (other := same(name, kept)) is not None:
            log.warning("class %r is a new one beside the adapter's %r: spell it alike, if it is the same", name, other)
    fresh: dict[str, Any] = {"metrics": {}, "created": "", "version": "", "thresholds": {}, "rule": ""}
    card = replace(adapter.card, names=(*kept, *names), imgsz=imgsz, **fresh)
    deltas = copy.deepcopy(adapter.deltas)
    with torch.no_grad():
        for layer, rows in adapter.class_rows.items():
            deltas[layer] = grown = grow_rows(rows, len(card.names), len(kept))
            further = None if grown.bias is None else grown.bias[len(kept) :]
            detector.initialise_rows(grown.weight[len(kept) :], further, layer)
    return Adapter(deltas, card).to(detector.device)
