"""The same attempts by a program without the checks: the content key still does not come out."""

from dataclasses import replace

from cryptors import read_header
from licensing import unlock
from licensing.unlock import MatchedSlot
from tools.demo_page import Page
from tools.demo_refusals import OTHER_MACHINE, edited_license, expect_refusal, other_gpu_scene
from tools.demo_story import Scene

__all__ = ["play_patched"]


def play_patched(page: Page, scene: Scene) -> None:
    """Leaves out the checks that refused, goes on to the key derivation, and prints how that fails.

    Raises:
        DemoFailedError: a content key came out, or the attempt failed for another reason than it should.
        LicensingError: the content key did not come out of the untouched license.
    """
    page.step("The same with a program whose checks are patched out")
    page.say("The content key is derived from the license's bytes, the device key and the hardware, so these fail too:")
    _derive(scene)  # Were this program broken otherwise, its failures below would mean nothing.
    page.trial("the edited license, its signature not verified")
    edited = replace(scene, license=edited_license(scene))
    page.refused(expect_refusal("the edited license, unchecked", "grant_invalid", lambda: _derive(edited)))
    page.trial("another machine, its ID not compared")
    elsewhere = replace(scene, box=scene.box.with_machine(OTHER_MACHINE))
    page.refused(expect_refusal("another machine, unchecked", "device_key_mismatch", lambda: _derive(elsewhere)))
    page.trial("another GPU, its UUID not compared")
    swapped = other_gpu_scene(scene)
    page.refused(expect_refusal("another GPU, unchecked", "grant_invalid", lambda: _derive(swapped)))
    page.limits(
        "What no license can prevent: the owner of the licensed machine can read the model from its memory, and a "
        "patched program there can ignore the end date. docs/limitations.md says more."
    )


def _derive(scene: Scene) -> bytes:
    """Derives a content key by the steps of `licensing.unlock`, without steps 2, 3, 5 and 7, which compare."""
    header = read_header(scene.locked)
    file = unlock.step_1_read_file(scene.license)
    claims = unlock.step_4_read_claims(file)
    model = unlock.step_6_find_model(claims, header.model_id, header.key_id)
    matched = MatchedSlot(claims.slots[0], next(iter(scene.box.gpus), None))
    device_key = unlock.step_8_open_device_key(claims, scene.box.home, scene.box.hardware)
    secret = unlock.step_9_unwrap_secret(claims, device_key)
    return unlock.step_10_unwrap_content_key(file, model, matched, scene.box.hardware, secret)
