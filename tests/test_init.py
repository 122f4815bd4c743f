"""The face of the package: a few names, and nothing heavy until one of them is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vision_lora

# What takes longer to load than all that the package itself may take.
HEAVY = {"torch", "numpy", "cv2", "PIL", "ultralytics", "rich", "jsonargparse", "pydantic", "yaml", "scipy"}


@pytest.mark.parametrize(
    "code",
    [
        "import vision_lora; dir(vision_lora)",
        "import vision_lora; vision_lora.__version__",
        "from vision_lora import VisionLoraError",
        "from vision_lora.__main__ import main; main(['--help'])",
        "from vision_lora.__main__ import main; main(['tarin'])",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    show = "; import sys; print('loaded', *{name.partition('.')[0] for name in sys.modules}, len(sys.modules))"
    command, place = (
        [sys.executable, "-S", "-c", code + show],
        {"PYTHONPATH": str(Path(vision_lora.__file__).parents[1])},
    )
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=place)
    loaded = done.stdout.splitlines()[-1].split()[1:]
    assert not HEAVY & set(loaded)
    assert int(loaded[-1]) < 250  # modules in all; torch alone has over 1,000


def test_every_name_is_there() -> None:
    for name in vision_lora.__all__:
        assert getattr(vision_lora, name) is not None
        assert name in dir(vision_lora)
    with pytest.raises(AttributeError, match="module 'vision_lora' has no attribute 'Detektor'"):
        _ = vision_lora.Detektor  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names_from_the_same_places() -> None:
    tree = ast.parse(Path(vision_lora.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert seen == vision_lora._HOMES
    assert {*seen, "__version__"} == set(vision_lora.__all__)


def test_names_do_not_clash_with_modules() -> None:
    """After `import vision_lora.train`, `vision_lora.train` is the module: a function of that name would be lost."""
    modules = {file.stem for file in Path(vision_lora.__file__).parent.iterdir()}
    assert not modules & set(vision_lora.__all__)
