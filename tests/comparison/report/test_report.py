"""Report, page and tables of a made-up result: every number is there, and the page needs nothing else."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.text import Text
from PIL import Image

from tests.comparison.build import result, row
from vision_lora.comparison.report import tables
from vision_lora.comparison.report.notes import notes
from vision_lora.comparison.report.plots import draw
from vision_lora.comparison.report.result import Result
from vision_lora.comparison.report.write import write_report
from vision_lora.comparison.stats import Interval
from vision_lora.text.markup import Strong, code_in_markdown, in_html, in_markdown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    write_report(result(), out)
    return out


def test_the_report_leaves_its_files(folder: Path) -> None:
    plots = {"accuracy_parameters.png", "accuracy_pictures.png", "learning_curves.png", "retention.png"}
    files = {f"compare.{ending}" for ending in ("md", "html", "csv", "json")}
    assert {file.name for file in folder.iterdir()} == plots | files
    for plot in plots:
        with Image.open(folder / plot) as image:
            assert image.width > 800
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20


def test_plots_are_made_only_of_what_is_there(tmp_path: Path) -> None:
    rows = [row("lora", (0.4,), to_best=Interval(-0.01, -0.02, 0)), row("full", (0.41,))]
    write_report(replace(result(rows), base_kept=None), tmp_path)
    assert {file.stem for file in tmp_path.glob("*.png")} == {"accuracy_parameters", "learning_curves"}
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    write_report(result([]), nothing)
    assert "No run is finished" in (nothing / "compare.md").read_text()
    assert not list(nothing.glob("*.png"))


@pytest.mark.filterwarnings("error")
def test_a_method_of_many_options_leaves_room_for_the_plot(tmp_path: Path) -> None:
    name = "lora:rank=16:alpha=128:lora_plus=4:variant=dora:start=quiet"
    made = result([row(name, (0.4,), to_best=None)])
    write_report(made, tmp_path)
    for figure in draw(made).values():
        figure.canvas.draw()
        assert all(axes.get_window_extent().width > figure.bbox.width / 3 for axes in figure.axes)


def test_joint_methods_are_drawn_by_how_much_they_are_held(tmp_path: Path) -> None:
    held = {"lora:joint": 0.43, "lora:joint:retain_weight=0.1": 0.35, "lora:joint:retain_weight=3": 0.44}
    rows = [row(method, (0.4,), joint=True, kept=kept, to_best=None) for method, kept in held.items()]
    rows += [row("full:joint", (0.38,), joint=True, kept=0.01), row("lora", (0.41,)), row("full", (0.41,))]
    rows += [row("lora:joint:rank=16", (0.42,), joint=True, kept=0.42)]  # of the default weight, but another method
    write_report(result(rows), tmp_path)
    assert "(frontier.png)" in (tmp_path / "compare.md").read_text()
    figure = draw(result(rows))["frontier"]
    (axes,) = figure.axes
    line = next(line for line in axes.lines if line.get_label() == "joint, by --retain-weight")
    assert list(line.get_xdata()) == [0.35, 0.43, 0.44]
    assert [text.get_text() for text in axes.texts] == ["0.1", "0.5, the default", "3"]
    assert {"full:joint", "lora:joint:rank=16", "lora: two passes", "base"} < {line.get_label() for line in axes.lines}


def test_markdown_has_every_method_with_its_numbers(folder: Path) -> None:
    text = (folder / "compare.md").read_text()
    assert "| lora | 0.415 ± 0.007 | 0.623 ± 0.011 | - | 0.001 | 0.444, to the bit |" in text
    assert "| **full** | 0.420 ± 0.000 | 0.630 ± 0.000 | +0.005 (-0.010 to +0.020) | 0.001 | lost |" in text
    assert "| ultralytics | 0.385 ± 0.007 |" in text
    assert "| lora | 284,194 (10.8%) | 1.17 | 0.2 | 75 | 10.00 | 1900 | 400 |" in text
    assert "## 10 a class (21 pictures)" in text
    assert "0.0005: 0.3000, **0.001: 0.4000**, 0.002: 0.3500" in text
    for picture in re.findall(r"!\[[^]]*\]\(([^)]*)\)", text):
        assert (folder / picture).is_file()


def test_json_is_read_back_as_it_was(folder: Path) -> None:
    values = json.loads((folder / "compare.json").read_text())
    assert values.pop("advice").startswith("Take lora")
    again = Result.from_json(values)
    assert json.dumps(again.to_json()) == json.dumps(result().to_json())
    assert again.rows[1].to_first == result().rows[1].to_first
    assert again.of("10")[0].map50_95.deviation == result().of("10")[0].map50_95.deviation


def test_csv_has_a_line_a_run(folder: Path) -> None:
    rows = list(csv.DictReader((folder / "compare.csv").open()))
    assert len(rows) == 2 * 3 * 2
    first = rows[0]
    assert (first["method"], first["training_set"], first["seed"], first["map50_95"]) == ("lora", "10", "0", "0.41")
    assert (first["map50_95 scratch"], first["map50_95 dent"]) == ("0.41", "")


class _Page(HTMLParser):
    """Collects what a page would load, its ids, and whether its elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.used: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "path", "use", "rect"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data"):
                (self.used if (value or "").startswith("#") else self.loads).append(value or "")
            if name == "id":
                self.ids.append(value or "")
            self.used += re.findall(r"url\((#[^)]+)\)", value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_page_stands_alone(folder: Path) -> None:
    text = (folder / "compare.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.loads == []
    assert not re.search(r"@import|<script|<link|url\((?!#)", text)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert {name[1:] for name in page.used} <= set(page.ids)
    assert text.count("<svg") == 4
    assert "<strong>full</strong>" in text


def test_names_from_outside_are_no_markup(tmp_path: Path) -> None:
    evil = replace(result(), title="<script>alert(1)</script>", problems=["<img src=x onerror=alert(1)>"])
    write_report(evil, tmp_path)
    text = (tmp_path / "compare.html").read_text()
    assert "<script" not in text
    assert "<img" not in text


def test_notes_say_what_weakens_the_numbers() -> None:
    assert not any("no test split" in note for note in notes(result()))
    assert any("no test split" in note for note in notes(result(scored="val")))
    assert any("2 runs side by side" in note for note in notes(result(jobs=2)))
    text = " ".join(notes(result()))
    assert "3 trials for each method and training set with seed 0" in text
    assert "by its own rule: ultralytics" in text
    edge = result([row("lora", (0.4,), lr=0.002), row("full", (0.4,))])
    assert "The highest one tried was the best for lora on all" in " ".join(notes(edge))
    single = result([row("lora", (0.4,), trials=[(0.001, 0.4)])], seeds=[0])
    assert "as given, without trials" in " ".join(notes(single))
    assert "One seed." in " ".join(notes(single))


def test_what_is_left_in_words() -> None:
    assert tables.kept(row("lora", (0.4,))) == "0.444, to the bit"
    assert tables.kept(row("lora", (0.4,), kept=None, identical=None)) == "kept"
    assert tables.kept(row("lora:joint", (0.4,), joint=True, kept=None, identical=None)) == "not measured"
    assert tables.kept(row("lora:joint", (0.4,), joint=True, kept=0.43, identical=False)) == "0.430"
    assert tables.kept(row("full", (0.4,))) == "lost"


@pytest.mark.parametrize(
    ("name", "in_md", "in_page"),
    [
        ("a|b", "a\\|b", "a|b"),
        ("**x**", "\\*\\*x\\*\\*", "**x**"),
        ("`y`", "\\`y\\`", "`y`"),
        ("[z](http://h)", "\\[z\\](http://h)", "[z](http://h)"),
        ("<b>", "\\<b>", "&lt;b&gt;"),
        ("_u_ v_w", "\\_u\\_ v_w", "_u_ v_w"),
        ("$5 $", "\\$5 \\$", "$5 $"),
    ],
)
def test_class_names_stay_text(name: str, in_md: str, in_page: str) -> None:
    table: tables.Table = (["method", name], [["lora", Strong(name)]])
    lines = tables.markdown(table).splitlines()
    assert lines[0] == f"| method | {in_md} |"
    assert lines[2] == f"| lora | **{in_md}** |"
    assert in_html((name, Strong(name))) == f"{in_page}<strong>{in_page}</strong>"
    assert "\n" not in in_markdown(f"{name}\n# head")


def test_a_formula_in_a_name_is_no_formula() -> None:
    """matplotlib sets `$...$` as mathematics, and stops at a broken one."""
    figures = draw(result([row("lora", (0.4,), shots="a$^x$.txt"), row("full", (0.4,), shots="a$^x$.txt")]))
    assert "a$^x$.txt" in "".join(text.get_text() for text in figures["learning_curves"].findobj(Text))
    figures["learning_curves"].savefig(io.BytesIO(), dpi=20)


def test_a_command_with_backticks_stays_code() -> None:
    assert code_in_markdown("compare --data 'a`b'") == "``compare --data 'a`b'``"
