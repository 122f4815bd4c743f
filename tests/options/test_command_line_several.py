"""Options that take several values: texts as they stand, from words and from YAML alike; configs that are printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_lora.errors import ConfigError
from vision_lora.options.camera import CameraConfig
from vision_lora.options.command_line import parse
from vision_lora.options.detect import PredictConfig
from vision_lora.options.option import Options
from vision_lora.options.train import TrainConfig


@pytest.mark.parametrize(
    ("words", "sources"),
    [
        (["--source", "a", "b", "--limit", "5", "--source=c"], ["a", "b", "c"]),
        (
            ["--source", "[a]", "{a}", "a: b.png", "null", "'a'", "a=b"],
            ["[a]", "{a}", "a: b.png", "null", "'a'", "a=b"],
        ),
        (["--source=-a.png", "--source", "\udcfc😀"], ["-a.png", "\udcfc😀"]),
        (["--config", "one.yaml", "--source", "b"], ["a: 1.png", "b"]),
        (["--config", "two.yaml", "--source", "b"], ["a", "2", "b"]),
    ],
)
def test_several_values_of_an_option_are_texts_in_their_order(
    words: list[str], sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text("source: 'a: 1.png'\n")
    Path("two.yaml").write_text("source: [a, '2']\n")
    assert parse(PredictConfig, "predict", ["--model", "m", *words]).sources == sources


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source"], "argument --source: expected at least one argument"),
        (["--source", "--limit", "5"], "argument --source: expected at least one argument"),
        (["--source", "a", "--source"], "argument --source: expected at least one argument"),
        (["--source", ""], "--source (nothing): expected a picture, a folder or a video"),
        (["--limit", "5", "a"], "unrecognized arguments: a"),
    ],
)
def test_an_option_for_several_values_needs_one(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(PredictConfig, "predict", ["--model", "m", *words])
    assert str(caught.value) == message


def test_a_thousand_values_take_no_time() -> None:
    words = ["--model", "m", "--source", *(f"{number}.png" for number in range(20_000))]
    assert len(parse(PredictConfig, "predict", words).sources) == 20_000


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TrainConfig, ["--data", "a: b", "--epochs", "7", "--joint", "--workers", "2"]),
        (PredictConfig, ["--model", "m", "--source", "a", "[b]", "--confidence", "0.5"]),
        (CameraConfig, ["--model", "m", "--source", "a", "{url: '0', zones: {belt: [[0, 0], [1, 0], [1, 1]]}}"]),
    ],
)
def test_a_printed_config_gives_the_same_options(
    config: type[Options], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(config, "verb", [*words, "--print-config"])
    assert ended.value.code == 0
    (tmp_path / "recipe.yaml").write_text(capsys.readouterr().out)
    assert parse(config, "verb", ["--config", str(tmp_path / "recipe.yaml")]) == parse(config, "verb", words)


@pytest.mark.parametrize(
    ("config", "text", "words"),
    [
        (PredictConfig, "[a, 1]", "texts"),
        (PredictConfig, "[{url: a}]", "texts"),
        (PredictConfig, "1", "texts"),
        (CameraConfig, "[a, 1]", "texts or mappings"),
        (CameraConfig, "{url: a}", "texts or mappings"),
    ],
)
def test_several_values_in_yaml_are_texts(config: type[Options], text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"source: {text}\n")
    with pytest.raises(ConfigError, match=rf"^--source .*: expected a text, or a list of {words} \(in quotes"):
        parse(config, "verb", ["--config", str(tmp_path / "recipe.yaml"), "--model", "m"])


def test_a_mapping_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"^--source: a mapping that cannot be read") as caught:
        parse(CameraConfig, "camera", ["--model", "m", "--source", "{url: 'rtsp://u:geheim@h/a', mode"])
    assert "geheim" not in str(caught.value)
