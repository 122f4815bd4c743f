"""Full precision where half would be wrong: losses, anchors and coordinates under autocast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def full_precision(value: Any) -> Any:
    """The same containers with their half-precision tensors in fp32; other tensors and values as they are.

    Examples:
        >>> full_precision({"boxes": [torch.zeros(2, dtype=torch.bfloat16)], "count": 3})
        {'boxes': [tensor([0., 0.])], 'count': 3}
    """
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, dict):
        return type(value)((key, full_precision(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(full_precision(item) for item in value)
    return value
