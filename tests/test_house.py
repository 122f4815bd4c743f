"""The house: which room may know which, how large a room may be, how long a file. All is read from the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from vision_lora.__main__ import VERBS

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "vision_lora"
NAME = PACKAGE.name

# From the top floor down. An arrow goes down; rooms of one floor do not know each other. Verbs stand above all of them,
# errors below.
FLOORS = (
    {"comparison"},
    {"benchmarks"},
    {"training", "streaming"},
    {"evaluation", "zoo"},
    {"detectors", "datasets", "rendering"},
    {"adapters"},
    {"options"},
    {"pictures"},
    {"system"},
    {"text"},
)
FILES, LINES, FUNCTION = 14, 400, 60

# Tests, and folders of them, that are of no one module or room: what every detector promises, whole jobs, what the
# machine has to have, what is written for users.
WHOLE = {
    "docs",
    "gpu",
    "detectors/test_contract.py",
    "detectors/test_overfit.py",
    "streaming/test_faults.py",
    "streaming/test_kill.py",
    "streaming/web/test_page.py",
    "test_house.py",
    "test_notebooks.py",
    "training/test_divergence.py",
    "training/test_joint_runs.py",
    "training/test_resume.py",
}

# Imports inside a function that close a circle: why each is there.
LATE: Mapping[tuple[str, str], str] = {}


class Arrow(NamedTuple):
    """An import.

    Attributes:
        source: the module that imports, without the package's name.
        target: what it imports.
        line: where.
        late: whether it stands in a function.
    """

    source: str
    target: str
    line: int
    late: bool

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} (line {self.line}{', in a function' if self.late else ''})"


@cache
def modules() -> dict[str, Path]:
    """Every module of the package; a room's `__init__.py` has the room's name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def arrows() -> tuple[Arrow, ...]:
    """All imports of one module of the package by another, but for those that only types need."""
    return tuple(arrow for name, path in modules().items() for arrow in _arrows_of(name, path.read_text("utf-8")))


def _arrows_of(name: str, text: str) -> Iterator[Arrow]:
    for node, late in _imports(ast.parse(text), late=False):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{name}: imports are absolute"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            wanted = [full if _own(full) in modules() else node.module or "" for full in inner]
        for target in sorted({own for full in wanted if (own := _own(full)) in modules() and own != name}):
            if target:  # the package itself: its version, and a face that imports late
                yield Arrow(name, target, node.lineno, late)


def _own(full: str) -> str | None:
    return "" if full == NAME else full.removeprefix(f"{NAME}.") if full.startswith(f"{NAME}.") else None


def _imports(node: ast.AST, *, late: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, late
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(other, late=late)
        else:
            yield from _imports(child, late=late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))


def circles(pairs: Iterator[tuple[str, str]]) -> list[list[str]]:
    """Sets of modules of which each reaches each other one (Tarjan 1972), those of one module left out.

    Examples:
        >>> circles(iter([("a", "b"), ("b", "c"), ("c", "b")]))
        [['b', 'c']]
    """
    graph: dict[str, set[str]] = {}
    for source, target in pairs:
        graph.setdefault(source, set()).add(target)
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(one: str) -> None:
        order[one] = lowest[one] = len(order)
        stack.append(one)
        for other in sorted(graph.get(one, ())):
            if other not in order:
                visit(other)
                lowest[one] = min(lowest[one], lowest[other])
            elif other in stack:
                lowest[one] = min(lowest[one], order[other])
        if lowest[one] == order[one]:
            at = stack.index(one)
            circle = sorted(stack[at:])
            del stack[at:]
            if len(circle) > 1:
                found.append(circle)

    for one in sorted(graph):
        if one not in order:
            visit(one)
    return found


def floor(module: str) -> int:
    """How high a module stands: 0 for a verb and for the package's face."""
    room = module.partition(".")[0]
    if module in ("", "__main__") or room in ("api", *VERBS):
        return 0
    for number, rooms in enumerate(FLOORS, start=1):
        if room in rooms:
            return number
    assert modules()[module].parent == PACKAGE, f"{room}/ stands on no floor: name it in FLOORS"
    return len(FLOORS) + 1


def test_no_circle_of_imports() -> None:
    assert circles((arrow.source, arrow.target) for arrow in arrows() if not arrow.late) == []


def test_imports_inside_functions_close_no_circle_but_those_that_are_listed() -> None:
    told = {(arrow.source, arrow.target) for arrow in arrows() if arrow.late}
    assert LATE.keys() <= told, "listed, but not there any more"
    assert circles((a.source, a.target) for a in arrows() if (a.source, a.target) not in LATE) == []


def test_no_arrow_runs_upward() -> None:
    for arrow in arrows():
        above, below = floor(arrow.source), floor(arrow.target)
        same = arrow.source.partition(".")[0] == arrow.target.partition(".")[0]
        beside_the_rooms = above == below == len(FLOORS) + 1
        assert above < below or (same and (above > 0 or arrow.source.startswith("api."))) or beside_the_rooms, str(
            arrow
        )


def test_inner_rooms_of_one_room_do_not_know_each_other_in_a_circle() -> None:
    pairs = []
    for arrow in arrows():
        source, target = _folder(arrow.source), _folder(arrow.target)
        if not arrow.late and len(source) > 1 and len(target) > 1 and source[0] == target[0] and source != target:
            pairs.append((".".join(source[:2]), ".".join(target[:2])))
    assert circles(iter(pairs)) == []


def _folder(module: str) -> tuple[str, ...]:
    return modules()[module].relative_to(PACKAGE).parent.parts


@pytest.mark.parametrize("room", sorted({path.parent for path in modules().values()}), ids=lambda path: path.name)
def test_a_room_can_be_looked_over(room: Path) -> None:
    """`__init__.py` is the label at the door; the package's own folder holds the verbs."""
    files = sorted(path.name for path in room.glob("*.py") if path.name != "__init__.py")
    assert len(files) <= FILES, f"{room.name}/ has {len(files)} files beside its inner rooms: {', '.join(files)}"


def test_every_room_says_what_it_holds() -> None:
    rooms = {path.parent for path in PACKAGE.rglob("*.py")}
    silent = [
        room.name for room in rooms if not ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8")))
    ]
    assert silent == []


def test_no_file_is_long() -> None:
    sizes = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules().items()}
    assert {name: size for name, size in sizes.items() if size > LINES} == {}


def test_no_function_is_long() -> None:
    """Lines of a function, its docstring among them."""
    long = {}
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION:
                    long[f"{name}.{node.name}"] = lines
    assert long == {}


def test_no_file_of_tests_is_long() -> None:
    sizes = {str(path.relative_to(TESTS)): len(path.read_text("utf-8").splitlines()) for path in TESTS.rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > LINES} == {}


@pytest.mark.parametrize(
    ("test", "of"),
    [
        ("datasets/formats/test_coco.py", "datasets/formats/coco.py"),
        ("detectors/test_export_names.py", "detectors/export.py"),  # one aspect of it
        ("datasets/test_formats_fuzz.py", "datasets/formats"),  # a whole room
        ("rendering/test_rendering.py", "rendering"),
        ("test_main.py", "__main__.py"),
        ("detectors/test_nothing.py", None),
    ],
)
def test_what_a_test_is_of(test: str, of: str | None) -> None:
    assert mirrored(Path(test)) == (of and PACKAGE / of)


def mirrored(test: Path) -> Path | None:
    """The module or room that a test is of, as its name and place say, or None; an aspect may stand behind the name."""
    room, words = PACKAGE / test.parent, test.stem.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        name = "_".join(words[:count])
        if name == room.name:
            return room
        for found in (room / f"{name}.py", room / name, room / f"__{name}__.py"):
            if found.exists():
                return found
    return None


def test_tests_mirror_the_package() -> None:
    tests = {path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    named = {test for test in tests if test.as_posix() in WHOLE or test.parts[0] in WHOLE}
    assert {str(test) for test in tests - named if mirrored(test) is None} == set()
    assert {str(test) for test in named if mirrored(test)} == set(), "listed without need"
