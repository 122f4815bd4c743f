"""The starter: a small base that ships with the package, for machines that cannot download one.

`zoo/starter.safetensors` holds a network of Ultralytics' modules with its weights in half precision (BatchNorm's
statistics in full, whose range half precision does not have) and a JSON header with architecture, class names and
training size. Nothing in it is executed. `configs/starter.yaml` trains it, and
`python -m vision_lora.zoo.pack runs/starter/best.pt` writes the file from what came out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from vision_lora.adapters.weights.tensors import read_tensors
from vision_lora.detectors.checkpoints import weights
from vision_lora.errors import AdapterError, CheckpointError, reason
from vision_lora.system.outputs import write_whole

NAME = "starter"
FILE = Path(__file__).parents[2] / "zoo" / "starter.safetensors"
KEY = "vision_lora_base"


def read_starter(file: Path = FILE) -> tuple[nn.Module, int]:
    """The starter's network, in fp32, and the side of the pictures that it was trained on, in pixels.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    reinstall = "install vision_lora again"
    if not file.is_file():
        raise CheckpointError(f"{file}: the base that ships with the package is not there; {reinstall}")
    try:
        tensors, metadata = read_tensors(file)
        header = json.loads(metadata[KEY])
        weights.check_architecture(str(file), header["architecture"])
        network: Any = DetectionModel(header["architecture"], verbose=False)
        head = network.model[-1]
        head.nc, head.no = len(header["names"]), len(header["names"]) + 4 * head.reg_max
        for branch in head.cv3:
            branch[-1] = nn.Conv2d(branch[-1].in_channels, head.nc, 1)
        network.load_state_dict(tensors)
    except (AdapterError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file}: damaged ({reason(error)[:200]}); {reinstall}") from error
    network.names = dict(enumerate(header["names"]))
    return network.float().eval(), int(header["imgsz"])


def write_starter(network: Any, imgsz: int, file: Path = FILE) -> None:
    """Write a network of Ultralytics' modules, not folded, as the starter.

    Args:
        network: a `DetectionModel` whose `yaml` rebuilds it.
        imgsz: side of the square pictures that it was trained on, pixels.
        file: replaced once the new one is whole.

    Raises:
        CheckpointError: a weight has no place in half precision.
    """
    tensors = {
        name: tensor.detach().to("cpu", torch.float32 if ".running_" in name else torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    endless = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if endless:
        raise CheckpointError(f"{file}: not written: {endless[0]} holds numbers that half precision does not have")
    names = [network.names[index] for index in range(len(network.names))]
    # The head's branches are as wide as the number of classes that the network was built for, which it forgets when it
    # gets others.
    architecture = {**network.yaml, "nc": network.model[-1].cv3[0][-1].in_channels}
    header = {"architecture": architecture, "names": names, "imgsz": imgsz}
    write_whole(file, save(tensors, metadata={KEY: json.dumps(header)}))
