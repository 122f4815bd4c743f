"""A closed unpickler: what a pickle describes, as plain data; nothing is imported, looked up, made or called.

Python's own unpickler is a machine that calls whatever a file names. This one runs the instructions that `torch.save`
writes, and where the others would call or make something it notes down what is asked for, as a `Record`. Names of code
are compared with a list and stay texts; the first that is not on it ends the reading. Who reads the records decides
what becomes of them, see `vision_lora.detectors.checkpoints.revive`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Container
from dataclasses import dataclass, field
from typing import IO, Any

ALIASES = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # modules as Python 2 called them, as protocol 2 does
MARK = object()


class RefusedPickleError(ValueError):
    """A pickle holds what is not expected in it; the message says what."""


class ForeignCodeError(RefusedPickleError):
    """A pickle names code that is not on the list; the message is the first such name."""


@dataclass(frozen=True)
class Name:
    """The name of a class or a function, of which nothing is known but that it is on the list.

    Attributes:
        path: module and name, `torch.nn.modules.conv.Conv2d`.
    """

    path: str


@dataclass(eq=False)
class Record:
    """What would be called or made, and is not.

    Attributes:
        path: module and name of what is asked for.
        args: arguments of the call; plain data and records.
        made: whether an object of a class is asked for without a call of the class, as pickles have it of most objects.
        state: what the object's attributes are to be.
        items: what a table is to be filled with.
    """

    path: str
    args: tuple[Any, ...]
    made: bool
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """The place of a tensor's numbers in the file around the pickle.

    Attributes:
        kind: the name of torch's storage class, `torch.FloatStorage`.
        key: which of the file's storages.
        count: how many numbers it has.
    """

    kind: str
    key: str
    count: int


def unpickle(file: IO[bytes], allowed: Container[str], storages: dict[str, Storage] | None = None) -> Any:
    """Read one pickle from where the file stands, up to its end.

    Args:
        file: the pickle and what follows it.
        allowed: names of code that it may hold, `torch.nn.modules.conv.Conv2d`.
        storages: is filled with the storages that it points to, by key.

    Returns:
        Plain values, lists, tuples, dicts, and in them `Record`, `Name` and `Storage`. They may contain themselves.

    Raises:
        ForeignCodeError: the pickle names other code.
        RefusedPickleError: it is damaged, or has instructions that `torch.save` does not use.
    """
    machine = _Machine(allowed, {} if storages is None else storages)
    try:
        while True:
            name, argument = _next(file)
            if name == "STOP":
                return machine.pop()
            machine.run(name, argument)
    # Of damaged instructions; TypeError is an unhashable key or a list that is none.
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        if isinstance(error, RefusedPickleError):
            raise
        raise RefusedPickleError(f"damaged: {shown(' '.join(str(error).split()))}") from error


def _next(file: IO[bytes]) -> tuple[str, Any]:
    """The next instruction and its argument, if it is one that `torch.save` writes."""
    code = file.read(1)
    if not code:
        raise RefusedPickleError("damaged: it has no end")
    opcode = KNOWN.get(code)
    if opcode is None:
        raise RefusedPickleError(f"damaged, or not written by torch.save: it has the instruction {code!r}")
    return opcode.name, None if opcode.arg is None else opcode.arg.reader(file)


class _Machine:
    """The stack and the memo, with a method or a branch for each instruction."""

    def __init__(self, allowed: Container[str], storages: dict[str, Storage]) -> None:
        self.allowed, self.storages = allowed, storages
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in PLAIN:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in PUT:
            self.memo[argument] = self.top()
        elif name in GET:
            self.stack.append(self.memo[argument])
        elif name in TUPLES:
            self.stack.append(tuple(reversed([self.pop() for _ in range(TUPLES[name])])))
        elif name in METHODS:
            getattr(self, METHODS[name])()
        elif name == "GLOBAL":
            self.stack.append(self.name(argument))

    def top(self) -> Any:
        """The topmost value."""
        if not self.stack or self.stack[-1] is MARK:
            raise RefusedPickleError("damaged: a value is missing")
        return self.stack[-1]

    def pop(self) -> Any:
        """Take the topmost value."""
        value = self.top()
        self.stack.pop()
        return value

    def above_mark(self) -> list[Any]:
        """Take all values above the last mark, and the mark."""
        values = []
        while self.stack and self.stack[-1] is not MARK:
            values.append(self.stack.pop())
        self.stack.pop()
        return values[::-1]

    def name(self, argument: str) -> Name:
        """A name of code, if it is on the list."""
        module, _, name = argument.partition(" ")
        path = f"{ALIASES.get(module, module)}.{name}"
        if path not in self.allowed:
            raise ForeignCodeError(shown(path))
        return Name(path)

    def mark(self) -> None:
        self.stack.append(MARK)

    def tuple(self) -> None:
        self.stack.append(tuple(self.above_mark()))

    def append(self) -> None:
        value = self.pop()
        self.expect(self.top(), list).append(value)

    def appends(self) -> None:
        values = self.above_mark()
        self.expect(self.top(), list).extend(values)

    def setitem(self) -> None:
        value, key = self.pop(), self.pop()
        self.table()[key] = value

    def setitems(self) -> None:
        values = self.above_mark()
        self.table().update(zip(values[::2], values[1::2], strict=True))

    def reduce(self) -> None:
        args, called = self.expect(self.pop(), tuple), self.expect(self.pop(), Name)
        self.stack.append(Record(called.path, args, made=False))

    def newobj(self) -> None:
        args, made = self.expect(self.pop(), tuple), self.expect(self.pop(), Name)
        self.stack.append(Record(made.path, args, made=True))

    def build(self) -> None:
        state, record = self.pop(), self.expect(self.top(), Record)
        if record.state is not None:
            raise RefusedPickleError(f"it sets the state of one {record.path} twice")
        record.state = state

    def storage(self) -> None:
        """A persistent identity; torch uses it for storages alone."""
        identity = self.expect(self.pop(), tuple)
        kind, key, count = (identity[1], identity[2], identity[4]) if len(identity) in (5, 6) else (None, None, None)
        if not (identity[0] == "storage" and isinstance(kind, Name) and isinstance(key, str) and type(count) is int):
            raise RefusedPickleError("it points to something outside of itself that is no storage of torch")
        if identity[5:] not in ((), (None,)) or count < 0:
            raise RefusedPickleError("it has a storage that is a part of another, as torch before 1.0 wrote them")
        storage = Storage(kind.path, key, count)
        if self.storages.setdefault(key, storage) != storage:
            raise RefusedPickleError("damaged: one storage is said to be two")
        self.stack.append(storage)

    def table(self) -> dict[Any, Any]:
        """What items are set in: a dict, or what an OrderedDict is to hold."""
        top = self.top()
        return top.items if isinstance(top, Record) else self.expect(top, dict)

    @staticmethod
    def expect(value: Any, kind: Any) -> Any:
        """A value, if it is of this kind."""
        if type(value) is not kind:
            raise RefusedPickleError(f"damaged: a {type(value).__name__} stands where a {kind.__name__} was expected")
        return value


PLAIN = {"BINFLOAT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4"}
PLAIN |= {"BINBYTES", "BINSTRING", "BINUNICODE", "SHORT_BINBYTES", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict}
PUT, GET = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
METHODS = {
    "MARK": "mark",
    "TUPLE": "tuple",
    "APPEND": "append",
    "APPENDS": "appends",
    "SETITEM": "setitem",
    "SETITEMS": "setitems",
    "REDUCE": "reduce",
    "NEWOBJ": "newobj",
    "BUILD": "build",
    "BINPERSID": "storage",
}
_NAMES = {*PLAIN, *CONSTANTS, *EMPTY, *PUT, *GET, *TUPLES, *METHODS, "GLOBAL", "PROTO", "STOP"}
KNOWN = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes if opcode.name in _NAMES}


def shown(name: str) -> str:
    """A stranger's text, short and without control sequences for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:100])
