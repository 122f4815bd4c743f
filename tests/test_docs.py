"""What the pages in docs/ show is run, block by block, as it stands there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.api.build import adapter, drawn
from vision_lora.options.train import TrainConfig
from vision_lora.training import session

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the page speaks of; training is cut to a few steps, viewers stay closed."""
    (tmp_path / "pictures").mkdir()
    for index in range(2):
        Image.fromarray(drawn(index)).save(tmp_path / "pictures" / f"{index}.png")
    adapter(tmp_path / "line3.safetensors")
    for split, count in {"train": 4, "val": 2}.items():
        for index in range(count):
            picture = np.full((64, 64, 3), 120, np.uint8)
            picture[16 + index : 40, 16:48] = (220, 40, 40)
            image = tmp_path / "images" / split / f"{index}.png"
            label = tmp_path / "labels" / split / f"{index}.txt"
            for file in (image, label):
                file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(image)
            label.write_text(f"0 0.5 {(56 + index) / 128} 0.5 {(24 - index) / 64}\n")
    (tmp_path / "defects.yaml").write_text("train: images/train\nval: images/val\nnames: [scratch]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image.Image, "show", lambda image, title=None: None)
    train = session.train

    def shortened(config: TrainConfig, audience: session.Listener) -> Any:
        return train(replace(config, epochs=2, draws=0, imgsz=64, batch=4, workers=0, device="cpu"), audience)

    monkeypatch.setattr(session, "train", shortened)


@pytest.mark.usefixtures("plant")
def test_the_page_about_python_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, Any] = {}
    for block in blocks(PAGE):
        exec(compile(block, PAGE.name, "exec"), known)
    printed = capsys.readouterr().out
    assert "--confidence 40: expected 0 to 1" in printed
    assert known["run"].val.per_class["scratch"].boxes == 2
    assert known["run"].file == Path("runs/line3/adapter.safetensors")
    assert len(list(Path("found").iterdir())) == len(list(Path("out").iterdir())) == 2
    assert known["rows"]
    assert len(known["coco"]) == len(known["rows"]) == sum(map(len, known["boxes"]))
    assert [line.split()[0] for line in printed.splitlines() if re.match(r"[12]\.?0? 0\.\d", line)]
