"""Fixtures for all tests."""

from tests.clocked_box import clocked_box
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
from tests.software_tpm import other_tpm, posing_tpm, software_tpm, tpm_factory
from tests.state_directory import state_directory
from tests.story import story
from tests.vendor_desk import desk

__all__ = [
    "clocked_box",
    "desk",
    "fake_nvml",
    "licensed_box",
    "lock_scene",
    "nvml_library",
    "other_tpm",
    "posing_tpm",
    "pytest_collectreport",
    "pytest_runtest_logreport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "small_disk",
    "software_tpm",
    "state_directory",
    "story",
    "tpm_factory",
]
