"""Ends of a run that libraries tell in pages, in one line."""

from __future__ import annotations

from pathlib import Path

import torch

from vision_lora.errors import TrainingError
from vision_lora.options.train import TrainConfig
from vision_lora.training.runs.folder import resume_command
from vision_lora.training.runs.state import STATE


def in_words(error: RuntimeError, config: TrainConfig, out: Path | None) -> TrainingError | None:
    """What a user can do about an error of torch's; None where it is no such error.

    Args:
        error: what ended the run.
        config: the run's options.
        out: the run's folder, once there is one.
    """
    if isinstance(error, torch.cuda.OutOfMemoryError):
        then = ""
        if out is not None and (out / STATE).exists():
            then = f"; if another program took the memory, continue without it: {resume_command(out)}"
        return TrainingError(
            f"the device's memory is full with {config.batch_size} pictures of {config.imgsz or 640} px a step; try "
            f"--batch {max(1, config.batch_size // 2)}, or --variant lora-fa, which needs about half as much{then}"
        )
    text = " ".join(str(error).split())
    if not text.startswith("DataLoader"):
        return None
    then = "" if out is None else f"; continue with: {resume_command(out)}"
    return TrainingError(f"the processes that load pictures (--workers {config.workers}) failed: {text[:200]}{then}")
