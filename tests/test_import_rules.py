"""Imports point downwards only, make no circles, and bring in no framework before it is needed."""

import ast
import functools
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from licensing.jwk import thumbprint
from licensing.signing_key import new_signing_key
from licensing.trust import TrustedKeys
from tests.command_line import here

ROOT = Path(__file__).parent.parent
PACKAGES = ["licensing", "cryptors", "tools"]
"""From the lowest to the highest."""

FRAMEWORKS = {
    "torch",
    "onnx",
    "onnxruntime",
    "safetensors",
    "numpy",
    "tensorflow",
    "paddle",
    "tensorrt",
    "transformers",
}
DEFERRED = FRAMEWORKS | {"sqlalchemy", "pynvml", "machineid", "rich", "tpm2_pytss"}
"""rich only draws progress; the others are for one kind of command each."""


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Returns every module of the distribution by its name, parsed."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


def imports(nodes: Iterator[ast.AST] | list[ast.stmt]) -> Iterator[str]:
    """Returns the modules that import statements name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module is not None
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (member if member in modules() else node.module for member in members)


@pytest.mark.parametrize("name", modules())
def test_imports_point_downwards(name: str) -> None:
    """Also those inside of functions: a package must work without those above it."""
    package = name.partition(".")[0]
    above = [*PACKAGES[PACKAGES.index(package) + 1 :], "tests", "examples", "scripts"]
    assert [each for each in imports(ast.walk(modules()[name])) if each.partition(".")[0] in above] == []


def test_imports_make_no_circles() -> None:
    trees = modules()
    graph = {
        name: {each for each in imports(top_level(tree)) if each in trees and each != name}
        for name, tree in trees.items()
    }
    assert len(graph) > 40
    assert any(graph.values())
    graphlib.TopologicalSorter(graph).prepare()  # Raises CycleError, with the circle.


def top_level(tree: ast.Module) -> list[ast.stmt]:
    """Returns the statements that run on import, those inside of conditions as well, but not for type checkers."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        found += (
            [each for each in ast.walk(node) if isinstance(each, ast.stmt)]
            if isinstance(node, ast.If | ast.Try)
            else [node]
        )
    return found


@pytest.mark.parametrize("package", ["licensing", "cryptors"])
def test_licensing_and_cryptors_name_their_frameworks_inside_of_functions(package: str) -> None:
    for name, tree in modules().items():
        if name.partition(".")[0] == package:
            roots = {each.partition(".")[0] for each in imports(top_level(tree))}
            assert roots & FRAMEWORKS == set(), name


def test_licensing_names_no_framework_at_all() -> None:
    for name, tree in modules().items():
        if name.partition(".")[0] == "licensing":
            assert {each.partition(".")[0] for each in imports(ast.walk(tree))} & FRAMEWORKS == set(), name


LOADED = """
import json, sys
{code}
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})), file=sys.stderr)
"""


def loaded_by(code: str) -> set[str]:
    """Returns the top-level modules that a process has loaded after it has run some code."""
    command = [sys.executable, "-c", LOADED.format(code=code)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return set(json.loads(ended.stderr.splitlines()[-1]))


def test_importing_loads_no_framework() -> None:
    loaded = loaded_by("import licensing, cryptors")
    assert {"licensing", "cryptors", "cryptography"} <= loaded
    assert loaded & DEFERRED == set()


def commands() -> list[str]:
    """Returns every command, as `weightlock --help` lists them."""
    shown = here("--help").stdout
    names = [line.strip("│ ").split(" ")[0] for line in shown.splitlines() if line.startswith("│")]
    return [name for name in names if name.isalpha()]


def test_help_of_every_command_loads_no_framework() -> None:
    names = commands()
    assert {"encrypt", "decrypt", "issue", "licenses", "request", "status", "run", "inspect", "demo"} <= set(names)
    lines = [[], *([name] for name in names), ["vendor", "init"]]
    calls = "; ".join(f"run_command_line({[*line, '--help']!r})" for line in lines)
    loaded = loaded_by(f"from tools.main import run_command_line; {calls}")
    # Where it is installed, typer prints its help with rich.
    assert loaded & (DEFERRED - {"rich"}) == set()


def test_inspecting_needs_neither_framework_nor_database(tmp_path: Path) -> None:
    key = new_signing_key("EdDSA").public_key()
    (tmp_path / "trust.jwks").write_bytes(TrustedKeys({thumbprint(key): key}).to_bytes())
    code = "from tools.main import run_command_line; assert run_command_line(['inspect', {path!r}]) == 0"
    assert loaded_by(code.format(path=str(tmp_path / "trust.jwks"))) & (DEFERRED - {"rich"}) == set()
