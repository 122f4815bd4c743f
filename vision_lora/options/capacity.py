"""Which options of `train` go with a choice of rank and of BatchNorm's statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from vision_lora.options.option import demand

if TYPE_CHECKING:
    from vision_lora.options.verbs import TrainConfig

Rank = int | Literal["auto"]
Norm = Literal["frozen", "live"]

# With a race that chooses rank and norm: one process, and nothing that is chosen by rank or that has a rank of its own.
_RACE: dict[str, tuple[object, ...]] = {
    "method": ("lora",),
    "variant": ("lora", "rslora", "dora"),
    "norm": ("frozen",),
    "joint": (False,),
    "start": (None, "random"),
    "on": (None,),
    "budget": (None,),
    "devices": (1,),
}


def demand_capacity(config: TrainConfig) -> None:
    """Refuse what cannot be had together.

    Raises:
        ConfigError: names the option, and what goes.
    """
    if config.norm == "live":
        for condition, expected in (
            (config.method == "lora", "--method lora; other methods' statistics are live"),
            (not config.joint, "frozen with --joint: the old classes' pictures have other statistics"),
            (config.variant != "lora-fa", "frozen with --variant lora-fa, or its memory is not saved"),
        ):
            demand(condition, "norm", "live", expected)
    if config.rank == "auto":
        for name, allowed in _RACE.items():
            words = " or ".join("none" if word is None else str(word) for word in allowed)
            value = getattr(config, name)
            demand(value in allowed, name, value, f"{words} with --rank auto, or a number for --rank")
