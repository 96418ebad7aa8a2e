"""Takes one security check after another out of the sources, and tells which removals no test notices.

    python scripts/mutate.py [FILE …] [--json RESULT] [--workers 2]

What counts as a check, and how it is taken out:

    raise     `raise …` becomes `pass`
    part      of a condition that raises, one operand of `and` or `or`, or one side of `low <= x <= high`, is left out
    call      a statement that only calls `check_…`, `verify_…`, `….only(…)`, `….fail(…)` and the like is left out
    bound     the pattern or the bounds that a field of a format is read with are left out

The tests run once to learn which of them reach which line; a mutant is then given those tests, in a copy of the
sources, until one fails. A mutant that no test reaches has survived, like one that all tests pass with. docs/adr says
what the survivors are.
"""

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parent.parent
CONTAINER = (
    "ciphertext",
    "errors",
    "header",
    "index",
    "keys",
    "memory",
    "pieces",
    "reader",
    "stream",
    "unpack",
    "writer",
)
TESTS = ("tests/licensing", "tests/cryptors", "tests/tools", "tests/fuzz", "tests/contract")
MARKS = "not (slow or large or huge or gpu)"
CHECKS = re.compile(r"_?(check|verify|require|refuse|need|expect)(_|$)|(only|fail|forget|wipe|check_unchanged)$")
READERS = {"text": 2, "integer": 1, "array": 1}
"""Methods of `Fields`, and the first of their arguments that bounds what is read."""
MOST_TESTS = 60
SECONDS = 180


@dataclass(frozen=True)
class Mutant:
    """One change of one file: what stands between two offsets becomes something else."""

    file: str
    line: int
    kind: str
    function: str
    start: int
    end: int
    new: str
    old: str

    def applied(self, source: bytes) -> bytes:
        """Returns the source with the change."""
        return source[: self.start] + self.new.encode() + source[self.end :]


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that failed, or None."""

    mutant: Mutant
    killed_by: str | None
    reached_by: int


class Finder(ast.NodeVisitor):
    """Collects the mutants of one file."""

    def __init__(self, file: str, source: bytes) -> None:
        self.file = file
        self.source = source
        self.found: list[Mutant] = []
        self._functions: list[str] = []
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    def visit_Raise(self, node: ast.Raise) -> None:
        if node.exc is not None:  # A bare `raise` hands on what was raised already.
            self._add(node, "raise", "pass")

    def visit_If(self, node: ast.If) -> None:
        if any(isinstance(inner, ast.Raise) for statement in node.body for inner in ast.walk(statement)):
            self._add_parts(node.test)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and CHECKS.match(_name(node.value.func)):
            self._add(node, "call", "pass")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and (first := READERS.get(node.func.attr)) is not None:
            if node.func.attr == "text" and len(node.args) > first:
                self._add(node.args[first], "bound", "None")
            if node.func.attr == "integer" and len(node.args) > first + 1:
                self._add(node.args[first], "bound", "-(10**15)")
                self._add(node.args[first + 1], "bound", "10**15")
            if node.func.attr == "array" and len(node.args) > first + 1:
                self._add(node.args[first], "bound", "0")
                self._add(node.args[first + 1], "bound", "10**9")
        self.generic_visit(node)

    def _add_parts(self, test: ast.expr) -> None:
        for node in ast.walk(test):
            if isinstance(node, ast.BoolOp):
                for operand in node.values:
                    self._add(operand, "part", "True" if isinstance(node.op, ast.And) else "False")
            elif isinstance(node, ast.Compare) and len(node.ops) == 2:
                texts = [self._text(each) for each in (node.left, *node.comparators)]
                for number in (0, 1):
                    kept = ast.Compare(ast.Name(texts[number]), [node.ops[number]], [ast.Name(texts[number + 1])])
                    self._add(node, "part", ast.unparse(kept))

    def _add(self, node: ast.stmt | ast.expr, kind: str, new: str) -> None:
        start, end = self._offset(node.lineno, node.col_offset), self._offset(*_end(node))
        old = self.source[start:end].decode()
        if old != new:
            place = ".".join(self._functions) or "(module)"
            self.found.append(Mutant(self.file, node.lineno, kind, place, start, end, new, " ".join(old.split())))

    def _text(self, node: ast.expr) -> str:
        return self.source[self._offset(node.lineno, node.col_offset) : self._offset(*_end(node))].decode()

    def _offset(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column


def _end(node: ast.stmt | ast.expr) -> tuple[int, int]:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def default_files() -> list[str]:
    """Returns the package `licensing` and the container's modules of `cryptors`."""
    container = [f"cryptors/{name}.py" for name in CONTAINER if (ROOT / f"cryptors/{name}.py").exists()]
    return sorted(f"licensing/{path.name}" for path in (ROOT / "licensing").glob("*.py")) + container


def mutants_of(file: str) -> list[Mutant]:
    """Returns every mutant of a file."""
    source = (ROOT / file).read_bytes()
    finder = Finder(file, source)
    finder.visit(ast.parse(source))
    return finder.found


def copy_sources(target: Path) -> Path:
    """Copies what the tests need, without environments and caches."""
    ignored = shutil.ignore_patterns(".venv*", ".demo-venv", ".git", "__pycache__", ".*_cache", "build", "*.egg-info")
    shutil.copytree(ROOT, target, ignore=ignored, symlinks=True)
    return target


def run_tests(folder: Path, *arguments: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    """Runs pytest in a copy of the sources; the processes that tests start import that copy, too."""
    variables = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", MARKS, *arguments]
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=seconds, check=False
    )  # fmt: skip


def tests_by_line(folder: Path, files: list[str]) -> dict[tuple[str, int], list[str]]:
    """Runs the tests once, and returns for each line those that reach it, the cheapest of each test file first."""
    import coverage

    sources = ",".join(sorted({file.split("/")[0] for file in files}))
    arguments = [f"--cov={name}" for name in sources.split(",")]
    tests = [test for test in TESTS if (folder / test).exists()]
    tests += sorted(f"tests/{path.name}" for path in (folder / "tests").glob("test_*.py"))
    result = run_tests(
        folder, "-n", "2", "--dist", "loadfile", *arguments, "--cov-context=test", "--cov-report=", *tests
    )
    print(result.stdout.splitlines()[-1] if result.stdout else result.stderr, flush=True)
    data = coverage.CoverageData(basename=str(folder / ".coverage"))
    data.read()
    reached: dict[tuple[str, int], list[str]] = {}
    for file in files:
        for line, contexts in data.contexts_by_lineno(str(folder / file)).items():
            names = sorted({context.split("|")[0] for context in contexts if context})
            reached[file, line] = _spread(names)
    return reached


def _spread(tests: list[str]) -> list[str]:
    """Takes tests from each test file in turn, so that the first ones are of many kinds."""
    by_file: dict[str, list[str]] = {}
    for test in tests:
        by_file.setdefault(test.split("::")[0], []).append(test)
    spread: list[str] = []
    while len(spread) < len(tests):
        spread += [queue.pop(0) for queue in by_file.values() if queue]
    return spread


def judge(mutant: Mutant, folder: Path, reached: dict[tuple[str, int], list[str]]) -> Verdict:
    """Runs the tests that reach a mutant until one fails."""
    tests = reached.get((mutant.file, mutant.line), [])
    path = folder / mutant.file
    source = path.read_bytes()
    path.write_bytes(mutant.applied(source))
    try:
        for start in range(0, len(tests), MOST_TESTS):
            try:
                result = run_tests(folder, "-x", "-n", "0", *tests[start : start + MOST_TESTS], seconds=SECONDS)
            except subprocess.TimeoutExpired:
                return Verdict(mutant, "(a test that did not end)", len(tests))
            if result.returncode not in (0, 5):
                failed = re.search(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE)
                return Verdict(mutant, failed[1] if failed else "(an error outside of the tests)", len(tests))
        return Verdict(mutant, None, len(tests))
    finally:
        path.write_bytes(source)


def judge_all(mutants: list[Mutant], workers: int, files: list[str]) -> Iterator[Verdict]:
    """Judges every mutant, in several copies of the sources at the same time."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folders: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            folders.put(copy_sources(Path(temporary) / str(number)))
        first = folders.get()
        reached = tests_by_line(first, files)
        folders.put(first)

        def work(mutant: Mutant) -> Verdict:
            folder = folders.get()
            try:
                return judge(mutant, folder, reached)
            finally:
                folders.put(folder)

        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(work, mutants)


def main() -> int:
    """Runs the mutants, prints the survivors, and ends with 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", help="by default, licensing and the container's modules")
    parser.add_argument("--json", type=Path, help="write every verdict to this file")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    files = arguments.files or default_files()
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    print(f"{len(mutants)} mutants in {len(files)} files", flush=True)
    verdicts: list[Verdict] = []
    for verdict in judge_all(mutants, arguments.workers, files):
        verdicts.append(verdict)
        if verdict.killed_by is None:
            mutant = verdict.mutant
            print(
                f"survived: {mutant.file}:{mutant.line} {mutant.function}: {mutant.kind} {mutant.old[:90]!r}",
                flush=True,
            )
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(each) for each in verdicts], indent=1))
    survived = Counter(verdict.mutant.kind for verdict in verdicts if verdict.killed_by is None)
    killed = len(verdicts) - survived.total()
    print(
        f"{killed} of {len(verdicts)} were noticed ({killed / max(1, len(verdicts)):.1%}); survivors: {dict(survived)}"
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
