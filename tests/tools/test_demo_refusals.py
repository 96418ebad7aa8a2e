"""The demo's attempts are refused as they should be, and one that is not fails the demo."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cryptors import lock_model
from licensing import unlock
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.machine import Machine
from licensing.unlock import MatchedSlot
from licensing.vendor_home import VendorHome
from tests.tools.quiet_page import quiet_page
from tools import demo_refusals
from tools.demo_box import Box
from tools.demo_errors import DemoFailedError
from tools.demo_patched import play_patched
from tools.demo_refusals import build_small_onnx, expect_refusal, play_refusals
from tools.demo_story import Scene, ask, issue

REASONS = ["signature_invalid", "machine_mismatch", "gpu_mismatch", "expired", "model_damaged", "model_not_licensed"]
UNCHECKED_REASONS = ["grant_invalid", "device_key_mismatch", "grant_invalid"]


@pytest.fixture(scope="module", params=["no GPU", "two GPUs"])
def small_scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The demo's scene with a small model, on a box without and on one with GPUs."""
    directory = tmp_path_factory.mktemp("scene")
    numbers = range(2 if request.param == "two GPUs" else 0)
    gpus = tuple(Gpu(f"GPU-00000000-0000-4000-8000-00000000000{number}", "NVIDIA H200", number) for number in numbers)
    box = Box(directory / "box", Hardware(Machine("4f3d1b6a140b35aa3de1645a70a5baf7", "a test"), GpuReading(gpus)))
    page, _ = quiet_page()
    vendor = VendorHome.create(directory / "vendor", "Vendor")
    build_small_onnx(directory / "small.onnx")
    lock_model(vendor, directory / "small.onnx", directory / "small.onnx.locked")
    ask(page, directory, box)
    issued = issue(page, directory, vendor, box, directory / "small.onnx.locked")
    shutil.copyfile(vendor.trust_path, box.home / "trust.jwks")
    return Scene(directory, vendor, box, directory / "small.onnx.locked", directory / "acme.lic", issued.expires)


@pytest.fixture
def scene(small_scene: Scene, tmp_path: Path) -> Scene:
    """The small scene with an empty directory for what the attempts write."""
    return replace(small_scene, directory=tmp_path)


def test_all_attempts_are_refused(scene: Scene) -> None:
    page, text = quiet_page()
    play_refusals(page, scene)
    play_patched(page, scene)
    reasons = re.findall(r"reason (\w+)$", text.getvalue(), re.MULTILINE)
    assert reasons == [*REASONS, *UNCHECKED_REASONS]


def _take_any_slot(claims: Any, hardware: Hardware, device: str | None) -> MatchedSlot:
    return MatchedSlot(claims.slots[0], None)


@pytest.mark.parametrize(
    ("place", "name", "replacement", "sentence"),
    [
        (unlock, "step_3_verify_signature", lambda *_: None, "the edited license was refused with 'grant_invalid'"),
        (unlock, "step_7_find_slot", _take_any_slot, "another machine was refused with 'device_key_mismatch'"),
        (unlock, "step_5_check_validity", lambda *_: None, "the expired license was not refused"),
        (demo_refusals, "flip_bit", lambda *_: 0, "the tampered model was not refused"),
        (demo_refusals, "load_model", lambda *_, **__: None, "the edited license was not refused"),
    ],
)
def test_refusal_that_does_not_come_fails_the_demo(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, replacement: Callable[..., Any], sentence: str
) -> None:
    monkeypatch.setattr(place, name, replacement)
    page, _ = quiet_page()
    with pytest.raises(DemoFailedError, match=sentence) as caught:
        play_refusals(page, scene)
    assert caught.value.reason == "demo_failed"


def test_content_key_that_comes_out_without_the_checks_fails_the_demo(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlock, "unwrap_grant", lambda *_: bytes(32))
    page, _ = quiet_page()
    with pytest.raises(DemoFailedError, match="the edited license, unchecked was not refused"):
        play_patched(page, scene)


def test_unexpected_error_is_not_taken_for_a_refusal() -> None:
    def attempt() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        expect_refusal("the attempt", "expired", attempt)
