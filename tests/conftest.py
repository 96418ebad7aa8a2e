"""Fixtures for all tests."""

from tests.fake_nvml.fixtures import fake_nvml, nvml_library
from tests.licensed_box import licensed_box
from tests.lock_scene import lock_scene
from tests.no_skips import (
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.small_disk import small_disk
from tests.story import story
from tests.vendor_desk import desk

__all__ = [
    "desk",
    "fake_nvml",
    "licensed_box",
    "lock_scene",
    "nvml_library",
    "pytest_collectreport",
    "pytest_runtest_logreport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "small_disk",
    "story",
]
