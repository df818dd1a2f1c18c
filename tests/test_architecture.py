"""The arrows of the house: who may know whom, and how long a module may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join((*(() if base == "sparsity" else ("sparsity",)), *path.relative_to(ROOT).with_suffix("").parts)): path
    for base in ("sparsity", "callbacks", "datamodules")
    for path in sorted((ROOT / base).rglob("*.py"))
}
ROOMS = (
    {"errors", "seeding", "atomic", "distributed", "formatting", "diagnosis", "html", "forks", "tracking"},
    {"masks", "forward"},
    {"networks", "metrics"},
    {"graph"},
    {"checkpoints", "pruning", "evaluation", "datamodules", "learning_rate"},
    {"analysis", "compaction", "classifier"},
    {"trainer", "viewer"},
    {"plotting", "runs", "interop"},
    {"callbacks"},
    {"report", "study"},
    {"reproduce"},
    {"cli"},
    {"__main__"},
)
"""Each may know those before it, and none beside it."""

ALONE = {"errors", "seeding", "atomic", "distributed", "formatting", "diagnosis", "html", "forks", "tracking"} | {
    "masks",
    "forward",
}
"""Small ones that may know each other, as long as nothing goes round."""


def imports(name: str) -> Iterator[str]:
    """The modules of this project that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "sparsity":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (one if one in MODULES else node.module for one in inner)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "sparsity")


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


def test_no_module_lies_in_the_root_that_is_not_one_of_the_few() -> None:
    rooms = set[str]().union(*ROOMS)
    assert {room(name) for name in MODULES} - {"__init__"} == rooms


@pytest.mark.parametrize("name", MODULES)
def test_arrows_only_go_down(name: str) -> None:
    rank = {one: number for number, rooms in enumerate(ROOMS) for one in rooms}
    for other in imports(name):
        a, b = room(name), room(other)
        if b not in ("__init__", a) and a != "__init__":
            assert rank[b] < rank[a] or {a, b} <= ALONE, f"{name} imports {other}"


def test_nothing_imports_itself_on_any_way_round() -> None:
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {name: {other for other in imports(name) if other != name} for name in MODULES}
    # A package's own list of what it offers comes after its modules, whatever else they import.
    graph = {name: others for name, others in graph.items() if name not in packages}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_longer_than_a_few_screens(name: str) -> None:
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("package", ["masks", "forward", "pruning", "graph", "analysis", "compaction", "viewer"])
def test_what_computes_needs_neither_lightning_nor_matplotlib(package: str) -> None:
    names = [name for name in MODULES if room(name) == package and not name.endswith("__init__")]
    code = (
        f"import sys; {'; '.join(f'import {name}' for name in names)}; "
        "assert not {'pytorch_lightning', 'lightning_fabric', 'matplotlib'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) != "plotting"])
def test_only_plotting_draws(name: str) -> None:
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        found = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not any(one.split(".")[0] == "matplotlib" for one in found)


def test_every_package_is_in_the_wheel() -> None:
    listed = re.findall(
        r'^    "(sparsity[\w.]*)",$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert {name.removesuffix(".__init__").replace("__init__", "sparsity") for name in packages} == set(listed)
