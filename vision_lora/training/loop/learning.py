"""What learns in a run, and one step of it: gradients of a batch, AdamW, the average; all of it can be written down."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from vision_lora.datasets.batches.batch import Batch
from vision_lora.detectors.losses.share import counting
from vision_lora.options.train import TrainConfig
from vision_lora.training.loop.ema import Ema
from vision_lora.training.loop.flat import Flat
from vision_lora.training.loop.graphs import Backward, Eager, Graphed
from vision_lora.training.loop.objective import Objective
from vision_lora.training.loop.statistics import average_statistics
from vision_lora.training.runs.state import random_states, set_random_state


class Step(nn.Module):
    """One training step's forward as a single module, so that Fabric can spread it over devices."""

    def __init__(self, network: nn.Module, learned: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.learned = learned
        self._objective = objective

    def forward(self, images: Tensor, targets: Tensor, *further: Tensor, present: bool = True) -> dict[str, Tensor]:
        """Losses by name, see `Objective`; of pictures that count, or that only keep the processes in step."""
        with counting(present):
            return self._objective(images, targets, *further)


class Learning:
    """Weights that change, with optimiser and average.

    Args:
        network: the detector's.
        learned: the module whose parameters change: the adapter, or the network itself.
        objective: what each step makes small.
        config: the recipe.
        fabric: devices and precision.
        graphed: whether steps are captured in CUDA graphs, see `vision_lora.training.loop.graphs`.

    Attributes:
        ema: the averaged weights, which are validated and saved.
    """

    def __init__(
        self,
        network: nn.Module,
        learned: nn.Module,
        objective: Objective,
        config: TrainConfig,
        fabric: Fabric,
        *,
        graphed: bool = False,
    ) -> None:
        self.objective, self.config, self.fabric, self.graphed = objective, config, fabric, graphed
        self._learned = learned
        module = Step(network, learned, objective).to(fabric.device)
        self._flat = Flat(parameter_groups(learned, config))
        # One kernel; it would scale fp16's gradients by itself, after they were clipped.
        optimizer = torch.optim.AdamW(self._flat.groups, lr=config.peak_lr, fused=config.precision != "fp16")
        self._step, self._optimizer = fabric.setup(module, optimizer)
        eager = Eager(self._step, fabric)
        self._backward: Backward = Graphed(module, self._flat, network, fabric, eager) if graphed else eager
        self.ema = Ema(self._flat, learned, config.ema)

    def step(self, batch: Batch, lr: float) -> tuple[tuple[str, ...], Tensor]:
        """Learn from a batch.

        Args:
            batch: pictures and boxes, on the device.
            lr: the learning rate now.

        Returns:
            Names of the losses, and the losses, (n,), on the device, to be read before the next step.
        """
        present = bool((batch.indices >= 0).all())
        for group in self._optimizer.param_groups:
            group["lr"] = lr * group["ratio"]
        inputs = (batch.images, batch.targets, *self.objective.further(self.fabric.device))
        names, losses = self._backward(*inputs, present=present)
        self.fabric.clip_gradients(self._step, self._optimizer, max_norm=self.config.clip, error_if_nonfinite=False)
        self._optimizer.step()
        self._flat.zero_grad()
        average_statistics(self._learned)
        self.ema.update()
        return names, losses

    def state_dict(self) -> dict[str, Any]:
        """All that it takes to go on; asks every process for its random numbers."""
        return {
            "learned": self._learned.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "precision": self.fabric._precision.state_dict(),
            "random": random_states(),
            "ema": self.ema.state_dict(),
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Go on from an earlier `state_dict`."""
        self._learned.load_state_dict(values["learned"])
        self._optimizer.load_state_dict(values["optimizer"])
        self.fabric._precision.load_state_dict(values["precision"])
        self.ema.load_state_dict(values["ema"])
        set_random_state(values["random"])


def parameter_groups(learned: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """What trains, by weight decay and learning rate.

    Matrices decay; vectors (biases, scales, shifts, norms) do not. The factor A learns more slowly than B and all else
    by `lora_plus` (Hayou et al. 2024, LoRA+, section 4): Adam moves every number by the learning rate, which is a large
    part of A's, and where both factors run, their product runs away (data/results/divergence.json).

    Returns:
        Groups for AdamW; `ratio` is the group's learning rate by the schedule's.
    """
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    downs: list[nn.Parameter] = []
    for name, parameter in learned.named_parameters():
        if parameter.requires_grad:
            kind = vectors if parameter.ndim <= 1 else downs if name.endswith(".down") else matrices
            kind.append(parameter)
    return [
        {"params": matrices, "weight_decay": config.weight_decay, "ratio": 1.0},
        {"params": downs, "weight_decay": config.weight_decay, "ratio": 1 / config.b_by_a},
        {"params": vectors, "weight_decay": 0.0, "ratio": 1.0},
    ]
