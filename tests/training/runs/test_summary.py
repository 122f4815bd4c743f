"""What a run gave, and its file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from tests.training import tiny
from vision_lora.training.runs.summary import RunSummary


def test_the_file_holds_all_but_the_places() -> None:
    summary = tiny.summary(Path("out"), names=("a", "b"), graphs="off", skipped=("a.txt: no",))
    values = json.loads(json.dumps(summary.to_json()))
    scores = summary.val.to_json()
    assert {name: values[name] for name in scores} == scores
    assert values["split"] == "val"
    assert (values["names"], values["skipped"], values["graphs"]) == (["a", "b"], ["a.txt: no"], "off")
    rest = {item.name for item in fields(RunSummary)} - {"out", "result", "model", "val"}
    assert values.keys() == rest | scores.keys() | {"split"}
