"""What may import what: the arrows between the packages, read from the source."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "agents": {"agents", "numpy", "scipy", "networkx", "msgspec"},
    "models": {
        *("PIL", "models", "numpy", "scipy", "msgspec"),
        *("torch", "onnx", "onnxruntime", "safetensors", "sklearn"),
    },
}
PACKAGES = ("agents", "emulator", "models")
BANNED_IN_AGENTS = {"time", "random", "asyncio", "threading", "socket", "os", "pathlib"}
OWNERS_OF_RAY = {"emulator/runtime/cluster.py", "emulator/runtime/host.py"}
LAZY = {"torch", "ray", "matplotlib"}
OWNERS_OF_MATPLOTLIB = {"figures", "plots", "network_map"}  # of emulator/views; imported lazily
ROOMS = (  # of the emulator, from the ground up: each may use those below it
    *("faults", "results", "scenario", "sim", "build", "checks"),
    *("runtime", "views", "experiments", "live", "cli"),
)
OWNERS_OF_ONNX = {"models/onnx_engine.py", "models/onnx_import.py"}  # who wants ONNX asks for them


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(nodes: Iterator[ast.AST]) -> set[str]:
    """Names the top packages that some syntax nodes import."""
    found: set[str] = set()
    for node in nodes:
        match node:
            case ast.Import(names=names):
                found |= {name.name.partition(".")[0] for name in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.partition(".")[0])
            case ast.ImportFrom(level=level) if level:
                found.add("a relative import")
    return found


def at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Walks what runs when a module is imported: no function body, nothing for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from at_import_time(node)


def everything(path: Path) -> set[str]:
    return imports(ast.walk(ast.parse(path.read_text())))


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_it_may(package: str) -> None:
    allowed = ALLOWED[package] | set(sys.stdlib_module_names)

    strangers = {
        str(path.relative_to(ROOT)): everything(path) - allowed for path in sources(package)
    }

    assert {path: names for path, names in strangers.items() if names} == {}


def test_nodes_own_no_clock_thread_file_socket_or_global_random_source() -> None:
    found = {str(path.relative_to(ROOT)): everything(path) for path in sources("agents")}

    assert {path: names & BANNED_IN_AGENTS for path, names in found.items()} == {
        path: set() for path in found
    }
    assert found


def test_a_room_of_the_emulator_uses_only_those_below_it() -> None:
    upwards = []
    for path in sources("emulator"):
        room = path.relative_to(ROOT / "emulator").parts[0]
        if room not in ROOMS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            other = (module or "").removeprefix("emulator.").partition(".")[0]
            if other in ROOMS and ROOMS.index(other) > ROOMS.index(room):
                upwards.append(f"{path.relative_to(ROOT)}: {module}")

    assert upwards == []
    assert {path.name for path in (ROOT / "emulator").iterdir() if path.is_dir()} >= set(ROOMS)


def test_no_node_knows_the_whole_network() -> None:
    # Only protocols that plan before a run, and the table of protocols, may.
    may = {"agents/protocols.py"}
    knows = {
        str(path.relative_to(ROOT))
        for path in sources("agents")
        for node in at_import_time(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agents.reference")
    }

    assert {path for path in knows if not path.startswith("agents/reference/")} == may


def test_files_are_short_and_classes_small_or_say_why() -> None:
    long, large = [], []
    for path in (path for package in PACKAGES for path in sources(package)):
        text = path.read_text()
        if text.count("\n") > 350:
            long.append(str(path.relative_to(ROOT)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                on_self = {
                    each.attr
                    for each in ast.walk(node)
                    if isinstance(each, ast.Attribute)
                    and isinstance(each.ctx, ast.Store)
                    and isinstance(each.value, ast.Name)
                    and each.value.id == "self"
                }
                fields = {ast.unparse(e.target) for e in node.body if isinstance(e, ast.AnnAssign)}
                says_why = "attributes" in (ast.get_docstring(node) or "")
                if len(on_self | fields) > 15 and not says_why:
                    large.append(f"{path.relative_to(ROOT)}: {node.name}")

    assert (long, large) == ([], [])


def test_the_architecture_names_every_file_in_its_room() -> None:
    rows = re.findall(r"^\| `([^|]*?)` \| (.*) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.M)
    named: dict[str, set[str]] = {}
    for room, text in rows:
        if room.endswith(".py"):  # models: a table of files
            room, text = "models/", f"`{room}`"
        folder = room if (ROOT / room).is_dir() else f"emulator/{room}"
        named.setdefault(folder, set()).update(re.findall(r"`(\w+\.py)`", f"`{room}` {text}"))
    there: dict[str, set[str]] = {}
    for package in ("agents", "emulator", "models"):
        for path in sources(package):
            folder = f"{path.parent.relative_to(ROOT)}/"
            if path.stem not in ("__init__", "__main__") and folder != "emulator/":
                there.setdefault(folder, set()).add(path.name)

    stated = {folder: names - {"__init__.py"} for folder, names in named.items() if names}
    for folder in sorted(stated.keys() | there.keys()):
        listed, found = stated.get(folder, set()), there.get(folder, set())
        unnamed, gone = sorted(found - listed), sorted(listed - found)
        where = f"ARCHITECTURE.md, 'Where things are', the row of {folder}"
        assert not unnamed, f"{where}: say what is in {', '.join(unnamed)}"
        assert not gone, f"{where}: there is no {', '.join(gone)}"


def test_no_modules_import_each_other_not_even_in_a_circle_or_lazily() -> None:
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sources(package)
    }
    arrows = nx.DiGraph()
    for name, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    arrows.add_edges_from((name, each.name) for each in names)
                case ast.ImportFrom(module=str(module), names=names):
                    inner = (f"{module}.{each.name}" for each in names)
                    arrows.add_edges_from((name, one if one in paths else module) for one in inner)

    assert {"agents.api", "emulator.sim.kernel", "models.engine"} <= set(arrows)
    assert [sorted(circle) for circle in nx.simple_cycles(arrows)] == []


def test_benchmarks_take_only_what_there_is() -> None:
    # They are run by hand: nothing else would notice that a name moved.
    missing = []
    for path in sources("benchmarks"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                top = node.module.partition(".")[0]
                if top in ("agents", "emulator", "models", "benchmarks"):
                    module = import_module(node.module)
                    for name in node.names:
                        inner = f"{node.module}.{name.name}"
                        if not hasattr(module, name.name) and not find_spec(inner):
                            missing.append(f"{path.name}: {inner}")

    assert missing == []


def test_torch_ray_and_matplotlib_are_imported_lazily() -> None:
    for path in sources("emulator"):
        name = str(path.relative_to(ROOT))
        eager = imports(at_import_time(ast.parse(path.read_text()))) & LAZY
        owned = {"ray"} if name in OWNERS_OF_RAY else set()
        owned |= {"matplotlib"} if path.stem in OWNERS_OF_MATPLOTLIB else set()
        assert eager <= owned, name


def test_nothing_loads_matplotlib_before_it_draws() -> None:
    code = (
        "import sys, emulator, emulator.cli.main, emulator.cli.profile, emulator.runtime.host, "
        "emulator.experiments.compare, emulator.experiments.sweep, emulator.views.report, "
        "emulator.views.training_curve, emulator.live.service; print('matplotlib' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"


def test_onnx_runtime_is_optional() -> None:
    for path in [*sources("models"), *sources("emulator")]:
        name = str(path.relative_to(ROOT))
        tree = ast.parse(path.read_text())
        if name in OWNERS_OF_ONNX:
            continue
        assert not everything(path) & {"onnx", "onnxruntime"}, name
        eager = [ast.unparse(node) for node in at_import_time(tree)]
        named = ("onnx_engine", "onnx_import")
        chosen = [line for line in eager if "import" in line and any(n in line for n in named)]
        assert chosen == [], name


def test_the_virtual_runtime_starts_without_torch_and_ray() -> None:
    code = (
        "import sys, emulator.runtime.loop, emulator.build.nodes, emulator.scenario.schema; "
        "print([name for name in ('torch', 'ray') if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
