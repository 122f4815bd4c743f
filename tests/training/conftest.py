"""What tests of whole training runs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vision_lora.training import session


@pytest.fixture(scope="module")
def without_plots() -> Iterator[None]:
    """They take longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("save_curves", "save_prediction_grid"):
            patch.setattr(session, name, lambda *_: None)
        yield
