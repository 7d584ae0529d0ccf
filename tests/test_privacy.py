"""Who may look into whom, and who may change whom: read from the source.

What begins with an underscore belongs to the class, or else the module, that defines it. And an
object is changed by the file that defines its class: others ask it to.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("agents", "emulator", "models", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
FOREIGN = {  # what libraries and the standard library have us reach for
    ("os", "_exit"),  # ends a process without cleaning up, as documented
}
CHANGED = {  # objects that others may set attributes of, and why
    "emulator/cli/compare.py": {"width"},  # rich's
    "models/onnx_engine.py": {"intra_op_num_threads", "inter_op_num_threads"},  # ONNX Runtime's
    # Counters of groups and trackers: a call for each would cost every task of every run.
    "emulator/results/metrics.py": {
        *("on_time", "peaks", "peaks_s", "users"),
    },
}


def own(node: ast.AST) -> bool:
    """Says whether an expression is the object, or the class, that the code belongs to."""
    match node:
        case ast.Name(id="self" | "cls"):
            return True
        case ast.Call(func=ast.Name(id="super")):
            return True
    return False


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def defined(scope: ast.AST) -> set[str]:
    """Names what the classes of a scope define: fields, methods, and what they set on `self`."""
    found: set[str] = set()
    for node in ast.walk(scope):
        match node:
            case ast.FunctionDef(name=name):
                found.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Attribute(value=value, attr=name, ctx=ast.Store()) if own(value):
                found.add(name)
    return found


def intrusions(tree: ast.AST) -> Iterator[str]:
    """Yields where code reaches for what is private to another class or module."""
    within: dict[ast.AST, set[str]] = {}
    for scope in ast.walk(tree):
        if isinstance(scope, ast.ClassDef):
            names = defined(scope)
            for node in ast.walk(scope):
                within.setdefault(node, set()).update(names)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attr) if (name, attr) in FOREIGN:
                pass
            case ast.Attribute(value=value, attr=attr) if is_private(attr) and not own(value):
                if attr not in within.get(node, ()):  # another object of the same class
                    yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.ImportFrom(names=names):
                yield from (
                    f"{node.lineno}: {ast.unparse(node)}" for each in names if is_private(each.name)
                )
            case ast.Call(args=[_, ast.Constant(value=str(name)), *_]) if is_private(name):
                if ast.unparse(node.func).rpartition(".")[2] in ("getattr", "setattr", "object"):
                    yield f"{node.lineno}: {ast.unparse(node)}"


def changes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields where code sets which attribute of an object whose class is defined elsewhere."""
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    here = set().union(*map(defined, classes))
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=attr, ctx=ast.Store() | ast.Del()):
                if not own(value) and attr not in here:
                    yield f"{node.lineno}: {ast.unparse(node)}", attr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_reaches_into_what_is_private_to_another(path: Path) -> None:
    assert list(intrusions(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("package", ["emulator", "models"])
def test_an_object_is_changed_by_the_file_that_defines_its_class(package: str) -> None:
    found = {}
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        if name.startswith(f"{package}/"):
            tree = ast.parse(path.read_text())
            found[name] = {
                where for where, attr in changes(tree) if attr not in CHANGED.get(name, ())
            }

    assert {name: wheres for name, wheres in found.items() if wheres} == {}


def test_exceptions_are_only_what_there_is() -> None:
    for name, allowed in CHANGED.items():
        assert allowed == {attr for _, attr in changes(ast.parse((ROOT / name).read_text()))}, name


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("self._a = other._a", ["1: other._a"]),
        ("from m import _a", ["1: from m import _a"]),
        ("m._a()", ["1: m._a"]),
        ("getattr(other, '_a')", ["1: getattr(other, '_a')"]),
        ("class C:\n  def f(self, o):\n    return self._a._b", ["3: self._a._b"]),
        ("class C:\n  def f(self, o):\n    self._a = o._a + super()._b", []),
        ("other.__class__; os._exit(0)", []),
    ],
)
def test_what_reaches_too_far_is_found(source: str, wrong: list[str]) -> None:
    assert list(intrusions(ast.parse(source))) == wrong


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("other.a = 1", ["a"]),
        ("self.b.a += 1", ["a"]),
        ("for other.a in x: del other.b", ["a", "b"]),
        ("class C:\n  a: int\ndef f(c): c.a = 1", []),
        ("class C:\n  def f(self): self.a = 1", []),
    ],
)
def test_what_changes_another_is_found(source: str, wrong: list[str]) -> None:
    assert sorted(attr for _, attr in changes(ast.parse(source))) == wrong
