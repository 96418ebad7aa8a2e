"""What must fail, shown failing: six attempts to run the locked model, each with the sentence that refuses it."""

import json
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptors import load_model, lock_model, read_header
from cryptors.frameworks import import_framework
from licensing.encoding import b64url_decode, b64url_encode, to_epoch
from licensing.errors import WeightlockError
from licensing.files import write_new_file
from licensing.gpus import Gpu
from licensing.machine import Machine
from licensing.strict_json import canonical
from licensing.unlock import unlock
from tools.demo_errors import DemoFailedError
from tools.demo_page import Page
from tools.demo_story import CUSTOMER, Scene

__all__ = [
    "OTHER_MACHINE",
    "build_small_onnx",
    "edited_license",
    "expect_refusal",
    "flip_bit",
    "other_gpu_scene",
    "play_refusals",
]

OTHER_MACHINE = Machine("0ddba11" * 4 + "0ddb", "another machine")
EDITED_END = datetime(2099, 12, 31, tzinfo=timezone.utc)


def play_refusals(page: Page, scene: Scene) -> None:
    """Tries the six attempts and prints how each is refused.

    Args:
        page: where to print.
        scene: the licensed box and the locked model, from `play_story`.

    Raises:
        DemoFailedError: an attempt was not refused, or for another reason than it should be.
    """
    page.step("What must fail, fails")
    page.say("Each attempt is the 'weightlock run' of step 5, with one thing changed:")
    _try_edited_license(page, scene)
    _try_another_machine(page, scene)
    _try_another_gpu(page, scene)
    _try_after_the_end(page, scene)
    _try_tampered_model(page, scene)
    _try_unlicensed_model(page, scene)


def expect_refusal(what: str, reason: str, attempt: Callable[[], object]) -> WeightlockError:
    """Makes an attempt and returns its refusal.

    Args:
        what: names the attempt in the sentence of a failure.
        reason: the reason with which it must be refused.
        attempt: what is tried.

    Raises:
        DemoFailedError: it succeeds, or is refused for another reason.
    """
    try:
        attempt()
    except WeightlockError as refusal:
        if refusal.reason == reason:
            return refusal
        raise DemoFailedError(f"{what} was refused with {refusal.reason!r}, not with {reason!r}") from refusal
    raise DemoFailedError(f"{what} was not refused")


def edited_license(scene: Scene) -> Path:
    """Writes a copy of the license with another end in its payload, and returns its path."""
    file = json.loads(scene.license.read_bytes())
    header, payload, signature = file["license"].split(".")
    claims = json.loads(b64url_decode(payload))
    claims["exp"] = to_epoch(EDITED_END)
    edited = b64url_encode(canonical(claims))
    path = scene.directory / "edited.lic"
    write_new_file(path, canonical({**file, "license": f"{header}.{edited}.{signature}"}), replace=True)
    return path


def other_gpu_scene(scene: Scene) -> Scene:
    """Returns the scene with another GPU in the licensed box, and with a license that is bound to a GPU.

    A box without a GPU has no such license, so that it gets one for a GPU that does not exist.
    """
    if scene.box.gpus:
        return replace(scene, box=scene.box.with_gpu(_gpu_of_random_uuid(scene.box.gpus[0].name)))
    licensed_box = scene.box.with_gpu(_gpu_of_random_uuid("Stand-in GPU A"))
    now = datetime.now(timezone.utc)
    header = read_header(scene.locked)
    request = licensed_box.request(now)
    issued = scene.vendor.issue(request, [header.model_id], customer=CUSTOMER, expires=scene.expires, now=now)
    path = scene.directory / "gpu.lic"
    write_new_file(path, issued.data, replace=True)
    # Where this license did not unlock the model on its own GPU, its refusal on another one would mean nothing.
    unlock(path, header.model_id, header.key_id, home=licensed_box.home, hardware=licensed_box.hardware)
    return replace(scene, license=path, box=licensed_box.with_gpu(_gpu_of_random_uuid("Stand-in GPU B")))


def _try_edited_license(page: Page, scene: Scene) -> None:
    page.trial("an edited license")
    page.say(f"its end is moved from {scene.expires:%Y-%m-%d} to {EDITED_END:%Y-%m-%d}, and nothing else")
    changed = replace(scene, license=edited_license(scene))
    page.refused(expect_refusal("the edited license", "signature_invalid", lambda: _load(changed)))


def _try_another_machine(page: Page, scene: Scene) -> None:
    page.trial("another machine")
    page.say("the same files, read on a machine with another machine ID")
    changed = replace(scene, box=scene.box.with_machine(OTHER_MACHINE))
    page.refused(expect_refusal("another machine", "machine_mismatch", lambda: _load(changed)))


def _try_another_gpu(page: Page, scene: Scene) -> None:
    page.trial("another GPU")
    if scene.box.gpus:
        page.say("the same files and machine, and a GPU of the same kind with another UUID")
    else:
        page.note(
            "this box has no GPU: for this attempt alone, stand-in readings take its place; the license is bound to "
            "one stand-in GPU, and the box reports another"
        )
    changed = other_gpu_scene(scene)
    page.refused(expect_refusal("another GPU", "gpu_mismatch", lambda: _load(changed)))


def _try_after_the_end(page: Page, scene: Scene) -> None:
    page.trial("an expired license")
    page.say("the same files and box, one day after the license's end")
    late = scene.expires + timedelta(days=1)
    page.refused(expect_refusal("the expired license", "expired", lambda: _load(scene, now=late)))


def _try_tampered_model(page: Page, scene: Scene) -> None:
    page.trial("a tampered model")
    tampered = scene.directory / "tampered.onnx.locked"
    shutil.copyfile(scene.locked, tampered)
    position = flip_bit(tampered)
    page.say(f"one bit of byte {position:,} is flipped in a copy of the locked model")
    changed = replace(scene, locked=tampered)
    page.refused(expect_refusal("the tampered model", "model_damaged", lambda: _load(changed)))
    tampered.unlink()


def _try_unlicensed_model(page: Page, scene: Scene) -> None:
    page.trial("a model that the license does not name")
    page.say("a second model of the same vendor, with the license of the first")
    plaintext, locked = scene.directory / "second.onnx", scene.directory / "second.onnx.locked"
    build_small_onnx(plaintext)
    lock_model(scene.vendor, plaintext, locked)
    changed = replace(scene, locked=locked)
    page.refused(expect_refusal("the second model", "model_not_licensed", lambda: _load(changed)))


def flip_bit(path: Path) -> int:
    """Flips one bit in the middle of a file and returns the position of its byte."""
    position = path.stat().st_size // 2
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))
    return position


def _load(scene: Scene, now: datetime | None = None) -> Any:
    return load_model(scene.locked, scene.license, home=scene.box.home, hardware=scene.box.hardware, now=now)


def _gpu_of_random_uuid(name: str) -> Gpu:
    return Gpu(f"GPU-{uuid.uuid4()}", name, index=0)


def build_small_onnx(path: Path) -> None:
    """Writes a model that returns what it gets."""
    onnx = import_framework("onnx", "onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, ["size"]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Identity", ["input"], ["output"])], "second", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
