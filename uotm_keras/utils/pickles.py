"""Reads pickles as data, with bounded work.

A pickle is a program for a small stack machine that may call any function it can name. Here the
machine is our own: it knows the few operations that containers, tensors and arrays need, and a
name stands for a handler of the caller's. Nothing is imported, no class can be altered, and the
work is proportional to the number of operations in the file.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from uotm_keras.utils.errors import InputError

__all__ = ["Name", "StandIn", "read_pickle"]

_MOST_OPERATIONS = 5_000_000
_MARK = object()
_KEYS = (str, int, float, bytes, type(None))  # the hash of a nested tuple can take forever
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class StandIn:
    """An object that a pickle builds: `build` receives its state."""

    def build(self, state: Any) -> None:
        """Set the object's state; by default it has none."""
        raise ValueError("state for an object that has none")


class Name(str):
    """A name that the pickle asked for, as `module.name`."""


def read_pickle(
    file: BinaryIO,
    handlers: Mapping[tuple[str, str], Callable[..., Any] | object],
    path: object,
    persistent: Callable[[Any], Any] | None = None,
) -> Any:
    """Read one pickle from a stream, and leave the stream after it.

    Args:
        file: binary stream.
        handlers: what each accepted (module, name) stands for: a function that is called
            with the arguments in the file, or an immutable value.
        path: the file's name, for messages.
        persistent: called with a persistent identifier; None refuses them.

    Returns:
        Plain containers, numbers and strings, and what the handlers return.

    Raises:
        InputError: the pickle asks for another name.
        Exception: the pickle is damaged; callers turn any exception into an `InputError`.
    """
    return _Machine(handlers, path, persistent).run(file)


class _Machine:
    def __init__(
        self,
        handlers: Mapping[tuple[str, str], Any],
        path: object,
        persistent: Callable[[Any], Any] | None,
    ):
        self.handlers, self.path, self.persistent = handlers, path, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        for number, (code, argument, _) in enumerate(pickletools.genops(file)):
            if number > _MOST_OPERATIONS:
                raise ValueError(f"more than {_MOST_OPERATIONS} operations in a pickle")
            self.step(code.name, argument)
        return self.finished(self.stack.pop())

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name not in ("PROTO", "FRAME", "STOP"):
            operation = getattr(self, f"op_{name.lower()}", None)
            if operation is None:
                raise ValueError(f"operation {name} is not accepted")
            operation(argument)

    def until_mark(self) -> list[Any]:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                items = self.stack[position + 1 :]
                del self.stack[position:]
                return items
        raise ValueError("no mark on the stack")

    def finished(self, value: Any) -> Any:
        if value is _MARK or isinstance(value, Name):
            raise ValueError("a mark or a name in the place of a value")
        return value

    def op_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def op_pop(self, _: Any) -> None:
        self.stack.pop()

    def op_pop_mark(self, _: Any) -> None:
        self.until_mark()

    def op_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def op_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def op_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def op_list(self, _: Any) -> None:
        self.stack.append(self.until_mark())

    def op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.until_mark()))

    def op_tuple1(self, _: Any) -> None:
        self.stack[-1:] = [tuple(self.stack[-1:])]

    def op_tuple2(self, _: Any) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def op_tuple3(self, _: Any) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def op_append(self, _: Any) -> None:
        item = self.stack.pop()
        self.extend([item])

    def op_appends(self, _: Any) -> None:
        self.extend(self.until_mark())

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError("items appended to something that is not a list")
        target.extend(items)

    def op_dict(self, _: Any) -> None:
        items = self.until_mark()
        self.stack.append({})
        self.update(items)

    def op_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def op_setitems(self, _: Any) -> None:
        self.update(self.until_mark())

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise ValueError("items set in something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise ValueError(f"a dict's key of type {type(key).__name__}")
            target[key] = value

    def op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.push_name(module, name)

    def op_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_name(module, name)

    def push_name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name that is not text")
        if (module, name) not in self.handlers:
            raise InputError(
                f"{self.path} was refused: its pickle asks for {module}.{name}, and only "
                "tensors, arrays and plain containers are accepted."
            )
        handler = self.handlers[module, name]
        if not callable(handler):
            self.stack.append(handler)
            return
        self.stack.append(Name(f"{module}\n{name}"))

    def op_reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise ValueError("a call of something that is not a function")
        module, name = function.split("\n")
        self.stack.append(self.handlers[module, name](*arguments))

    op_newobj = op_reduce

    def op_build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, StandIn):
            target.build(state)
        elif type(target) is not dict:  # the attributes of an OrderedDict are not needed
            raise ValueError("state for something that has none")

    def op_persid(self, argument: Any) -> None:
        self.stack.append(argument)
        self.op_binpersid(None)

    def op_binpersid(self, _: Any) -> None:
        identifier = self.stack.pop()
        if self.persistent is None:
            raise ValueError("a persistent identifier outside an object")
        self.stack.append(self.persistent(identifier))
