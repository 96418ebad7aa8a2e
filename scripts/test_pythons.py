"""Runs the tests that do not need PyTorch on every other supported Python that is installed.

Pythons are looked for on the path and among pyenv's. One environment is made for each, without PyTorch: it has no
small build for all of them. All are tried at once. What ran is printed; where no other Python is found, that is said,
and is no failure.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
TESTS = (
    "tests/licensing",
    "tests/test_failed_read.py",
    "tests/test_import_rules.py",
    "tests/test_key_derivation_refuses.py",
)
MARKERS = "not slow and not large and not gpu"


def find_pythons() -> dict[str, str]:
    """Returns the interpreters of supported versions other than this one, by version."""
    pyenv_root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found: dict[str, str] = {}
    for version in SUPPORTED:
        candidates = [shutil.which(f"python{version}"), *map(str, pyenv_root.glob(f"versions/{version}.*/bin/python"))]
        for candidate in filter(None, candidates):
            if version_of(candidate) == version:
                found[version] = candidate
                break
    found.pop(f"{sys.version_info.major}.{sys.version_info.minor}", None)
    return found


def version_of(interpreter: str) -> str:
    """Returns the version that an interpreter reports; empty if it does not run, as pyenv's shims may not."""
    command = [interpreter, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def make_environment(version: str, interpreter: str) -> Path:
    """Makes the environment of one Python, unless it is there and newer than the project's dependencies.

    The pip of the environment that runs this installs into it: bringing it one of its own would take longer.
    """
    folder = ROOT / f".venv-{version}"
    made, python = folder / "made", folder / "bin" / "python"
    if made.exists() and made.stat().st_mtime > (ROOT / "pyproject.toml").stat().st_mtime:
        return python
    run_quietly([interpreter, "-m", "venv", "--clear", "--without-pip", str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
    run_quietly(
        [*pip, "install", "--no-compile", "--group", "tests", "--group", "peers", "--editable", ".[safetensors]"]
    )
    # Where the TSS libraries are missing, it is not built, and the tests of TPMs are skipped, which CI does not allow.
    subprocess.run([*pip, "install", "--group", "tpm"], cwd=ROOT, capture_output=True, check=False)
    made.touch()
    return python


def run_quietly(command: list[str]) -> None:
    """Runs a command whose words matter only when it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def run_tests(version: str, interpreter: str) -> "subprocess.CompletedProcess[str]":
    """Runs the tests on one Python."""
    python = make_environment(version, interpreter)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", MARKERS, *TESTS]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def main() -> int:
    """Runs the tests; returns 1 if any failed."""
    pythons = find_pythons()
    if not pythons:
        print("no other supported Python is installed: tested on this one alone")
        return 0
    print(f"testing on Python {', '.join(pythons)}, each in an environment of its own ...", flush=True)
    failed = []
    with ThreadPoolExecutor(len(pythons)) as threads:
        for version, done in zip(pythons, threads.map(run_tests, pythons, pythons.values()), strict=True):
            print(f"Python {version}:\n{done.stdout}{done.stderr}", flush=True)
            if done.returncode != 0:
                failed.append(version)
    if failed:
        print(f"failed on Python {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
