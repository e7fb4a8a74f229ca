"""The structure of the package, read from its source: imports run downward, without circles."""

import ast
import inspect
from pathlib import Path

import keras
import pytest

pytestmark = pytest.mark.one_backend

PACKAGE = Path(__file__).parents[1] / "uotm_keras"
FLOORS = (
    {"", "__main__"},
    {"cli"},
    {"reporting"},
    {"training"},
    {"presets"},
    {"models"},
    {"exporting"},
    {"objectives", "metrics"},
    {"networks", "data"},
    {"backend"},
    {"config"},
    {"utils"},
)
"""Rooms from the top to the bottom; rooms of one floor do not import each other."""
HEIGHT = {room: -i for i, floor in enumerate(FLOORS) for room in floor}
ENTRY = {"utils.environment", "utils.errors", "version"}


def modules(root: Path = PACKAGE) -> dict[str, ast.Module]:
    """Source trees by module name, without the package's own name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module, known: set[str]) -> set[str]:
    """Modules of the package that a source tree imports, lazily or not."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}".removeprefix("uotm_keras.")
                found.add(f"uotm_keras.{whole}" if whole in known else node.module)
    ours = {name.removeprefix("uotm_keras").lstrip(".") for name in found
            if name.split(".")[0] == "uotm_keras"}  # fmt: skip
    return {name for name in ours if name in known}


def room(module: str) -> str:
    return module.split(".")[0]


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Imports that do not run to a lower floor."""
    return [
        f"{module} -> {other}"
        for module, others in graph.items()
        for other in others
        if room(module) != room(other)
        and room(other) != "version"
        and HEIGHT[room(other)] >= HEIGHT[room(module)]
    ]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Circles of imports between files."""
    found, done = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
            return
        if module in done:
            return
        for other in sorted(graph[module]):
            # `from uotm_keras import backend` inside `backend` imports the room's own front.
            if not (other and module.startswith(f"{other}.")):
                visit(other, [*path, module])
        done.add(module)

    for module in graph:
        visit(module, [])
    return found


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return modules()


@pytest.fixture(scope="module")
def graph(trees) -> dict[str, set[str]]:
    return {name: imports(tree, set(trees)) - {name} for name, tree in trees.items()}


def test_every_room_has_a_floor(trees):
    assert {room(name) for name in trees} - {"version"} == set(HEIGHT)


def test_imports_run_downward(graph):
    assert upward(graph) == []


def test_there_are_no_circles(graph):
    assert circles(graph) == []


def test_planted_faults_are_found(graph):
    planted = {**graph, "utils.files": {"models.uotm"}}
    assert upward(planted) == ["utils.files -> models.uotm"]
    assert circles({"a.x": {"a.y"}, "a.y": {"a.z"}, "a.z": {"a.x"}}) == [
        ["a.x", "a.y", "a.z", "a.x"]
    ]


def asks_for_the_backend(tree: ast.Module) -> list[str]:
    """Places that find out which backend runs: by Keras, or by importing an engine."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "keras.backend.backend":
            found.append(f"line {node.lineno}: keras.backend.backend")
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module.split(".")[0]]
        else:
            continue
        found += [f"line {node.lineno}: {n}" for n in names if n in ("jax", "torch", "tensorflow")]
    return found


MAY_IMPORT_TENSORFLOW = {"exporting.saved_model", "exporting.onnx_graph", "exporting.served"}
"""They write or read TensorFlow's own formats, whichever backend runs."""


def test_only_the_backend_room_asks_which_backend_runs(trees):
    found = {
        name: places
        for name, tree in trees.items()
        if room(name) != "backend" and name not in MAY_IMPORT_TENSORFLOW
        for places in [asks_for_the_backend(tree)]
        if places
    }
    assert found == {}


def private_keras_names() -> set[str]:
    """Names with one leading underscore that Keras's classes define."""
    classes = [
        keras.Model, keras.Layer, keras.layers.Conv2D, keras.Variable, keras.Sequential,
        keras.optimizers.Adam, keras.optimizers.LossScaleOptimizer, keras.metrics.Mean,
        keras.callbacks.CallbackList, keras.random.SeedGenerator,
    ]  # fmt: skip
    instances = [keras.layers.Conv2D(1, 1), keras.optimizers.Adam(), keras.metrics.Mean()]
    names = set()
    for thing in [*classes, *instances]:
        names |= set(dir(thing)) | set(getattr(thing, "__dict__", {}))
    names |= {"_loss_tracker", "_momentums", "_velocities", "_kernel", "_maybe_symbolic_build"}
    names |= {"_all_reduce_sum_gradients", "_autoconvert_optionals"}  # of TensorFlow alone
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def private_uses(tree: ast.Module, names: set[str]) -> list[str]:
    """Private Keras names that a tree reads, sets, or overrides, and imports of keras.src."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names:
            found.append(f"line {node.lineno}: {node.attr}")
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name in names:
                    found.append(f"line {method.lineno}: def {method.name}")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras.src"):
            found.append(f"line {node.lineno}: {node.module}")
    return found


def test_private_keras_names_stand_in_one_file(trees):
    names = private_keras_names()
    assert {"_flatten_layers", "_loss_tracker", "_momentums"} <= names
    found = {
        name: uses
        for name, tree in trees.items()
        if name != "backend.keras_hooks"
        for uses in [private_uses(tree, names)]
        if uses
    }
    assert found == {}


def test_the_planted_private_name_is_found():
    tree = ast.parse("def f(model):\n    return model._flatten_layers()\n")
    assert private_uses(tree, private_keras_names()) == ["line 2: _flatten_layers"]
    assert asks_for_the_backend(ast.parse("import jax")) == ["line 1: jax"]


def test_models_have_no_mixins(trees):
    import uotm_keras as uk

    for model in (uk.UOTM, uk.SJKO):
        for base in inspect.getmro(model):
            assert len([b for b in base.__bases__ if "uotm_keras" in b.__module__]) <= 1
