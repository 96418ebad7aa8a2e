"""In CI, a skipped test fails the run: what was not tested must not look as if it had passed.

Only tests marked `gpu` may be skipped there. CI says that it is CI by the environment variable of that name.
"""

import os

import pytest

__all__ = ["pytest_collectreport", "pytest_runtest_logreport", "pytest_sessionfinish", "pytest_terminal_summary"]

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remembers a test that was skipped; one that is expected to fail, and did, counts as skipped for pytest only."""
    if report.skipped and not hasattr(report, "wasxfail") and "gpu" not in report.keywords:
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Remembers a whole module that was skipped."""
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run; runs that failed anyhow keep their exit status."""
    if _is_forbidden() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Says why the run failed."""
    if _is_forbidden():
        terminalreporter.section("skipped, which fails the run in CI")
        for name in _skipped:
            terminalreporter.line(name)


def _is_forbidden() -> bool:
    return bool(_skipped) and os.environ.get("CI", "").lower() not in ("", "0", "false")
