"""The Dockerfile, as far as it can be held against the rest without a docker: commands, extras, paths, user."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs.pages import ROOT, Block, blocks

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[import-not-found, no-redef]

FILE = ROOT / "configs" / "docker" / "Dockerfile"
TEXT = re.sub(r"\\\n\s*", "", FILE.read_text(encoding="utf-8"))
LINES = [line for line in TEXT.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def stages() -> dict[str, list[str]]:
    """Lines of each stage by its name, those of the stage that it begins with in front."""
    found: dict[str, list[str]] = {}
    for line in LINES:
        if start := re.fullmatch(r"FROM (\S+) AS (\w+)", line):
            found[start[2]] = [*found.get(start[1], [])]
        elif found:
            list(found.values())[-1].append(line)
    return found


def command(stage: str) -> list[str]:
    words: list[str] = json.loads(stages()[stage][-1].removeprefix("CMD "))
    return words


def test_the_images_run_the_two_commands_of_the_readme() -> None:
    first, second = [block.text.strip() for block in blocks(ROOT / "README.md", "bash") if "pip install" in block.text][
        :2
    ]
    assert shlex.split(first.partition("&&")[2]) == command("run")
    assert shlex.split(second.partition("&&")[2]) == command("test")
    assert list(stages())[-1] == "run", "what is built without --target"


def test_extras_and_versions_are_those_of_the_project(project: dict[str, Any]) -> None:
    extras = re.findall(r"pip install '\.\[([\w,]+)\]'", TEXT)
    assert len(extras) == 2
    for extra in ",".join(extras).split(","):
        assert extra in project["optional-dependencies"]
    wanted = re.findall(r"'(torch(?:vision)?>=[\d.]+)'", TEXT)
    assert len(wanted) == 2
    assert set(wanted) <= set(project["dependencies"])


def test_nothing_runs_as_root_and_no_host_is_named() -> None:
    for stage in ("run", "test"):
        users = [line.split()[1] for line in stages()[stage] if line.startswith("USER ")]
        assert users == ["vision"]
        made = next(line for line in stages()[stage] if "useradd" in line)
        place = next(line.split()[1] for line in stages()[stage] if line.startswith("WORKDIR "))
        assert f"install -d -o vision -g vision {place}" in made, "the first command draws its data there"
    assert "://" not in TEXT


def _docker_builds() -> Iterator[list[str]]:
    named = [match[1] for match in re.finditer(r"^#\s+(docker build .*)$", FILE.read_text("utf-8"), re.MULTILINE)]
    shown = [line for page in (ROOT / "docs").glob("*.md") for block in blocks(page, "bash") for line in _lines(block)]
    for line in (*named, *shown):
        if line.startswith("docker build"):
            yield shlex.split(line)


def _lines(block: Block) -> list[str]:
    return block.text.splitlines()


def test_what_docs_say_of_building_is_there() -> None:
    builds = list(_docker_builds())
    assert len(builds) >= 4
    for words in builds:
        assert (ROOT / words[words.index("-f") + 1]) == FILE
        assert words[-1] == "."
        if "--target" in words:
            assert words[words.index("--target") + 1] in stages()
    text = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
    arguments = re.findall(r"--build-arg (\w+)=", text)
    assert arguments
    for name in arguments:
        assert any(line.startswith(f"ARG {name}=") for line in LINES)


def test_nothing_that_the_images_need_is_left_out() -> None:
    ignored = (ROOT / "configs" / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    tops = {line.split("/")[0] for line in ignored if line and not line.startswith(("#", "!", "**"))}
    needed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "vision_lora",
        "tests",
        "configs",
        "notebooks",
        "docs",
        "Makefile",
    }
    assert not tops & needed
    assert "data/demo/*" in ignored, "what was drawn here; the image draws its own"
    assert "!data/demo/README.md" in ignored
