"""The guard against skips: it fails a run in CI that skipped anything but tests of a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import no_skips

ROOT = Path(__file__).parent.parent

SKIPPED = "import pytest\n\n@pytest.mark.skip(reason='-')\ndef test_a(): pass\n"
SKIPPED_WITHIN = "import pytest\n\ndef test_a(): pytest.skip('-')\n"
SKIPPED_MODULE = "import pytest\n\npytest.importorskip('no_such_module_anywhere')\n\ndef test_a(): pass\n"
GPU = "import pytest\n\n@pytest.mark.gpu\n@pytest.mark.skip(reason='-')\ndef test_a(): pass\n"
EXPECTED_TO_FAIL = "import pytest\n\n@pytest.mark.xfail\ndef test_a(): assert False\n"


def run(tests: str, folder: Path, ci: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs tests, and one more that passes, with the guard."""
    (folder / "conftest.py").write_text(f"from tests.no_skips import {', '.join(no_skips.__all__)}\n")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n")
    (folder / "test_some.py").write_text(tests)
    (folder / "test_passing.py").write_text("def test_b(): pass\n")
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "."]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("tests", "ci", "options", "code"),
    [
        (SKIPPED, "true", (), 1),
        (SKIPPED, "true", ("-p", "xdist", "-n", "1"), 1),
        (SKIPPED_WITHIN, "1", (), 1),
        (SKIPPED_MODULE, "true", (), 1),
        (SKIPPED_MODULE, "true", ("-p", "xdist", "-n", "1"), 1),
        (SKIPPED, "", (), 0),
        (GPU, "true", (), 0),
        (EXPECTED_TO_FAIL, "true", (), 0),
    ],
)
@pytest.mark.slow
def test_skips_fail_the_run_in_ci_alone(
    tests: str, ci: str, options: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    ended = run(tests, tmp_path, ci, *options)
    assert ended.returncode == code, ended.stdout
    assert ("which fails the run in CI" in ended.stdout) is bool(code)


def test_this_run_is_guarded(pytestconfig: pytest.Config) -> None:
    guarding = pytestconfig.pluginmanager.get_plugins()
    assert any(getattr(plugin, "pytest_sessionfinish", None) is no_skips.pytest_sessionfinish for plugin in guarding)
