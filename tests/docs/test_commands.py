"""Every command that README.md and docs/ show is run here, or is named with the reason why not and the test that does.

A command that no rule covers fails. What is run is the command as it stands, in the folder of `plant.py`, with that
file's `SMALLER` options behind it; before that, its own options are read as the verb reads them.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.docs import plant
from tests.docs.pages import PAGES, PROGRAMS, ROOT, blocks, commands, spans, split
from vision_lora.__main__ import VERBS, module_of
from vision_lora.__main__ import main as vision_lora
from vision_lora.options.command_line import parse

CI = ".ci/run"
PRINTING = {"--help", "--version", "--print-config"}  # do nothing but that


class Elsewhere(NamedTuple):
    """A command that is not run here.

    Attributes:
        pattern: regular expression that the whole command matches, words joined by single spaces.
        reason: why.
        covered: a test, or CI's script, that runs what the command runs: `file.py::test`; None where nothing can.
    """

    pattern: str
    reason: str
    covered: str | None


_MEASURED = r"(neu-det|deeppcb)/data(_grouped)?\.yaml"
ELSEWHERE = (
    Elsewhere(r"pip install .*", "installs", CI),
    Elsewhere(r"pytest.*", "is what runs this", CI),
    Elsewhere(r"docker .*", "there is no docker", "docs/test_container.py::test_what_docs_say_of_building_is_there"),
    Elsewhere(r"make (check|test|docs)", "CI runs it", CI),
    Elsewhere(r"make compare-tables", "writes into docs", "docs/test_tables.py::test_tables_are_what_the_results_say"),
    Elsewhere(r"make bench(-families)?", "an hour", "test_benchmark.py::test_every_row_has_what_scripts_read"),
    Elsewhere(r"make bench-gpu", "needs a GPU", None),
    Elsewhere(r"make bench-busy", "needs a quiet machine", None),
    Elsewhere(r"make bench-camera", "half an hour", "benchmarks/test_rehearsal.py::test_bench_measures_both_sides"),
    Elsewhere(r"make compare-keep", "copies what hours of `make compare` made", None),
    Elsewhere(r"make compare .*", "hours", "test_compare.py::test_the_result_holds_what_was_measured"),
    Elsewhere(r"make starter", "hours", "detectors/checkpoints/test_starter.py::test_it_learns"),
    Elsewhere(rf".*compare .*{_MEASURED}.*", "hours", "test_compare.py::test_the_result_holds_what_was_measured"),
    Elsewhere(r".*compare --config .*", "hours", "test_compare.py::test_the_result_holds_what_was_measured"),
    Elsewhere(r".*compare --data data.yaml --model yolo11n.pt", "the one with more options is run", None),
    Elsewhere(
        r".*[. ]models",
        "builds each family",
        "test_models.py::test_lists_every_family_with_the_numbers_of_its_smallest",
    ),
    Elsewhere(r".*camera .*rtsp:.*", "a camera", "test_camera.py::test_a_video_ends_by_itself_with_a_summary"),
    Elsewhere(r".*camera --config .*", "two cameras", "test_camera.py::test_a_video_ends_by_itself_with_a_summary"),
    Elsewhere(
        r"curl .*/api/sources/.*",
        "needs a camera at work",
        "streaming/web/test_web.py::test_a_change_is_made_and_a_wrong_one_is_explained",
    ),
    Elsewhere(r".*benchmark .*--device cuda.*", "needs a GPU", None),
    Elsewhere(
        r".*benchmark --model yolo11n.pt.*", "minutes", "test_benchmark.py::test_every_row_has_what_scripts_read"
    ),
    Elsewhere(r".*benchmarks\.loader .*", "minutes", "benchmarks/test_loader.py::test_rows_of_loaders_and_step"),
    Elsewhere(
        r".*benchmarks\.spoiled .*", "trains for each fold", "benchmarks/test_spoiled.py::test_it_runs_with_an_adapter"
    ),
    Elsewhere(
        r".*evaluate .*--threshold recall.*",
        "needs a trained adapter",
        "test_evaluate.py::test_a_rule_is_kept_on_the_card_and_used",
    ),
    Elsewhere(r".*train .*--log .*", "other programs", "training/trackers/test_trackers.py::test_mlflow"),
    Elsewhere(
        r".*train --resume .*",
        "needs an interruption",
        "test_main_job.py::test_a_resumed_run_ends_with_the_same_adapter",
    ),
    Elsewhere(r".*[. ]demo", "draws for half a minute", "test_main_job.py::test_missing_demo_data_is_drawn"),
    Elsewhere(
        r".*[. ]demo --test .*",
        "draws for a minute",
        "test_demo.py::test_more_test_pictures_leave_the_others_as_they_are",
    ),
    Elsewhere(
        r".*benchmarks\.shifts .*",
        "writes a copy of a dataset",
        "benchmarks/test_shifts.py::test_boxes_classes_and_splits_are_those_of_the_source",
    ),
    Elsewhere(
        r".*benchmarks\.labelling .*",
        "hours",
        "benchmarks/test_labelling.py::test_both_rules_begin_alike_and_learn_from_as_many_pictures",
    ),
    Elsewhere(
        r".*--(data DATA|model MODEL) .*",
        "stands for a table's runs",
        "test_main_job.py::test_a_run_leaves_everything_a_user_needs",
    ),
    Elsewhere(r".*[. ]VERB( .*)?|vision-lora (train|predict|evaluate)", "speaks of verbs", None),
)


def given() -> list[tuple[str, ...]]:
    """All commands of all pages, each once."""
    return list(dict.fromkeys(words for page in PAGES for words in commands(page)))


def verb_of(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Verb and options, where a command runs a verb."""
    if words[0] == "vision-lora":
        return (words[1], list(words[2:])) if words[1] in VERBS else None
    if words[:2] == ("python", "-m") and (name := words[2].removeprefix("vision_lora.")) in VERBS:
        return name, list(words[3:])
    return None


def elsewhere(words: Sequence[str]) -> Elsewhere | None:
    return next((rule for rule in ELSEWHERE if re.fullmatch(rule.pattern, " ".join(words))), None)


def configs() -> dict[str, Any]:
    """The options of each verb, which its module reads."""
    return {verb: getattr(importlib.import_module(module_of(verb)), f"{verb.capitalize()}Config") for verb in VERBS}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant.build(tmp_path_factory.mktemp("plant"))


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A plant for each command, so that none finds what another has written."""
    return shutil.copytree(built, tmp_path / "plant", copy_function=os.link)


@pytest.mark.parametrize("words", [w for w in given() if not elsewhere(w)], ids=" ".join)
def test_a_command_does_what_it_should(
    words: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(ROOT))  # for processes that a verb starts
    if ">" in words:  # what is printed goes into a file
        words = words[: words.index(">")]
    found = verb_of(words)
    if found is None or PRINTING & set(words):
        assert words[0] == "vision-lora", f"no rule covers {' '.join(words)!r}: see ELSEWHERE"
        assert ended(lambda: vision_lora(words[1:])) == 0
        assert capsys.readouterr().out
        return
    verb, options = found
    parse(configs()[verb], verb, options)
    code = importlib.import_module(module_of(verb)).main([*options, *plant.SMALLER[verb].split()])
    assert code in ((0, 1) if verb == "check" else (0,))  # 1: it found what would spoil training


@pytest.mark.parametrize("session", [b.text for p in PAGES for b in blocks(p, "text") if b.text.startswith("$ ")])
def test_a_command_says_what_the_page_says(session: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed, _, told = session.partition("\n")
    (words,) = split(typed.removeprefix("$ "))
    assert ended(lambda: vision_lora(words[1:])) == 2
    assert capsys.readouterr().err == told


def ended(run: Any) -> int:
    try:
        return int(run())
    except SystemExit as end:  # of --help and --version
        return int(end.code or 0)


@pytest.mark.parametrize("words", [w for w in given() if elsewhere(w) and verb_of(w) and len(w) > 2], ids=" ".join)
def test_options_of_commands_that_are_not_run_are_read(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    verb, options = verb_of(words) or ("", [])
    parse(configs()[verb], verb, options)


def test_extras_that_pages_install_are_there() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = {extra for words in given() if words[0] == "pip" for extra in re.findall(r"\[(\w+)\]", words[2])}
    assert "camera" in extras
    for extra in extras:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_make_s_targets_and_modules_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in given():
        if words[0] == "make":
            assert re.search(rf"^{re.escape(words[1])}:", makefile, re.MULTILINE), words
        if words[:2] == ("python", "-m") and "VERB" not in words[2]:
            place = ROOT / words[2].replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), words


@pytest.mark.parametrize("rule", ELSEWHERE, ids=lambda rule: rule.pattern)
def test_what_is_run_elsewhere_is_run_there(rule: Elsewhere) -> None:
    assert any(elsewhere(words) == rule for words in given()), "no page shows such a command any more"
    if rule.covered is None or rule.covered == CI:
        return
    file, _, name = rule.covered.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_code_is_marked_as_what_it_is() -> None:
    """So that none escapes: a block of commands is `bash`, and what has no language is no command."""
    fences = [(page, block) for page in PAGES for block in blocks(page)]
    assert {block.language for _, block in fences} <= {"", "bash", "python", "yaml", "text"}
    assert [
        block.text for _, block in fences if block.language in ("", "text") and block.text.startswith(PROGRAMS)
    ] == []


# Options of other programs that the pages name.
FOREIGN = {
    "--gpus",
    "--shm-size",
    "--ipc",
    "--build-arg",
    "--target",
    "--user",
    "--device",
    "--group-add",
    "--rm",
    "--cov",
    "--into",
    "--logdir",
    "--kind",
}


def _options() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for span in spans(page):
            for option in re.findall(r"(?<![\w-])(--[a-z][\w-]*)", span):
                yield page.name, option


def test_options_that_pages_name_exist() -> None:
    fields = {name for config in configs().values() for name in config.__dataclass_fields__}
    known = (
        {f"--{name.replace('_', '-')}" for name in fields}
        | {"--config", "--help", "--version", "--print-config", "--completion"}
        | FOREIGN
    )
    assert sorted({f"{page}: {option}" for page, option in _options() if option not in known}) == []
