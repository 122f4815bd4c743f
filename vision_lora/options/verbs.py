"""The verbs, each with its options."""

from __future__ import annotations

from collections.abc import Mapping

from vision_lora.options.camera import CameraConfig
from vision_lora.options.compare import BenchmarkConfig, CompareConfig
from vision_lora.options.detect import EvaluateConfig, PredictConfig, RetentionConfig
from vision_lora.options.option import Options
from vision_lora.options.tools import CheckConfig, DemoConfig, ExportConfig, InspectConfig, ModelsConfig
from vision_lora.options.train import TrainConfig

OPTIONS: Mapping[str, type[Options]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "retention": RetentionConfig,
    "predict": PredictConfig,
    "camera": CameraConfig,
    "compare": CompareConfig,
    "benchmark": BenchmarkConfig,
    "check": CheckConfig,
    "export": ExportConfig,
    "inspect": InspectConfig,
    "models": ModelsConfig,
    "demo": DemoConfig,
}
