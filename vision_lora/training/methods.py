"""Methods: what a training run learns, an adapter or weights of the network itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from vision_lora.adapters.adapter import Adapter
from vision_lora.adapters.file import load_adapter
from vision_lora.adapters.plan import Plan
from vision_lora.detectors.base import Detector
from vision_lora.detectors.full import replace_classes, unfreeze
from vision_lora.detectors.load import load_base
from vision_lora.detectors.new_adapter import grow_adapter, plan_adapter, planned_adapter
from vision_lora.errors import ConfigError
from vision_lora.options.placement import PLACEMENTS
from vision_lora.options.train import TrainConfig
from vision_lora.pictures.detections import Mode

# Full fine-tuning and its cheaper forms: which stages of the network train. The others keep weights and statistics.
STAGES = {"full": PLACEMENTS["all"], "freeze": PLACEMENTS["neck"], "head": PLACEMENTS["head"]}

TEACHER = "teacher"  # name of the adapter that training goes on from, where it is attached


@dataclass(frozen=True)
class Learner:
    """A detector made ready for training.

    Attributes:
        detector: with the adapter attached and active, or with unfrozen weights.
        learned: the module whose trainable parameters change.
        adapter: what is saved; None where the network itself is.
        plan: which layers are adapted; None without adapter, and where it goes on from another one.
        counts: numbers that training changes, by part.
        total: parameters of the base.
        base: fingerprint of the base.
        mode: of the detector, to detect the new classes.
    """

    detector: Detector
    learned: nn.Module
    adapter: Adapter | None
    plan: Plan | None
    counts: Mapping[str, int]
    total: int
    base: str
    mode: Mode


def make_learner(config: TrainConfig, names: Sequence[str], layers: Collection[str] | None = None) -> Learner:
    """Load the base and prepare it for the method, for classes of these names.

    Args:
        config: the recipe.
        names: the new classes.
        layers: adapt only these, see `vision_lora.training.choices.budget`.

    Raises:
        CheckpointError: the base is missing or unusable.
        AdapterError: nothing would be adapted, or the adapter to go on from does not fit.
    """
    detector = load_base(config.model, fold=config.method == "lora")
    base, total = detector.fingerprint, sum(parameter.numel() for parameter in detector.network.parameters())
    if config.method == "lora":
        adapter, plan = (
            _grown(config, detector, names) if config.on else recipe_adapter(config, detector, names, layers)
        )
        if config.norm == "live" and not adapter.thaw(detector.norms):
            raise ConfigError(f"--norm live: no adapted layer of {detector.base} has a BatchNorm; expected frozen")
        detector.attach(adapter)
        return Learner(detector, adapter, adapter, plan, adapter.parameter_count(), total, base, "defects")
    if tuple(names) != detector.names:  # its own classes are trained further, not anew
        replace_classes(detector, names, keep=config.joint)
    unfreeze(detector, STAGES[config.method])
    trained = [parameter.numel() for parameter in detector.network.parameters() if parameter.requires_grad]
    return Learner(detector, detector.network, None, None, {config.method: sum(trained)}, total, base, "general")


def recipe_adapter(
    config: TrainConfig, detector: Detector, names: Sequence[str], layers: Collection[str] | None = None
) -> tuple[Adapter, Plan]:
    """An untrained adapter as the recipe asks for it, not attached, and its plan."""
    assert config.rank != "auto", "a race has chosen"
    plan = plan_adapter(
        detector,
        len(names),
        rank=config.rank,
        variant=config.variant,
        placement=config.placement or "all",
        layers=layers,
    )
    return planned_adapter(detector, names, plan, alpha=config.alpha, imgsz=config.imgsz, joint=config.joint), plan


def _grown(config: TrainConfig, detector: Detector, names: Sequence[str]) -> tuple[Adapter, None]:
    """The adapter to train; what it goes on from is attached beside it, as its teacher."""
    before = load_adapter(config.on or "")
    if before.joint != config.joint:
        found, expected = ("a joint", "an exact") if before.joint else ("an exact", "a joint")
        raise ConfigError(f"--on {config.on}: {found} adapter; expected {expected} one, or --joint on both runs")
    detector.attach(before, TEACHER, use=False)
    return grow_adapter(detector, before, names, imgsz=config.imgsz), None
