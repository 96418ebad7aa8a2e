"""Plaintext that is left somewhere: on the disk, in temporary directories, in pages that can be swapped."""

import shutil
import sys

from tests.attacks.attack import Outcome, Power, StoppedBy, attack, require
from tests.attacks.held import licensed_model, seen, seen_unhardened
from tests.attacks.scene import AttackScene
from tests.command_line import PROGRAM
from tests.patterned_models import PATTERN
from tests.plaintext_watch import leaks, watched

__all__: list[str] = []

LEAKING = f"""
with open("leak", "wb") as file:
    file.write(bytes.fromhex("{PATTERN.hex()}") * 4096)
"""


@attack(
    "plaintext",
    Power.FILES,
    "find plaintext in what `weightlock run` writes, by its system calls",
    either=StoppedBy.CRYPTOGRAPHY,
)
def find_plaintext_on_the_disk(scene: AttackScene) -> Outcome:
    require("strace")
    assert leaks(watched([sys.executable, "-c", LEAKING], scene.new_folder("leaking"))), "the eyes see a leak"
    folder = scene.new_folder("watched")
    output = folder / "scratch" / "y.npz"
    found = leaks(watched([PROGRAM, *licensed_model(scene).arguments, "--output", output], folder))
    assert output.exists()
    shutil.rmtree(folder)
    if found:
        return Outcome("the weights are written", StoppedBy.NOTHING, "plaintext", elsewhere=True)
    said = "no system call carries the weights to a file or a socket: what is on the disk is encrypted"
    return Outcome(said, StoppedBy.CRYPTOGRAPHY)


@attack(
    "plaintext",
    Power.OTHER_USER,
    "find plaintext in temporary directories, the home and /dev/shm, during a run and after a crash",
    either=StoppedBy.CRYPTOGRAPHY,
)
def find_plaintext_in_temporary_directories(scene: AttackScene) -> Outcome:
    if seen(scene).files:
        return Outcome("a file holds the weights", StoppedBy.NOTHING, "plaintext", elsewhere=True)
    return Outcome("no file holds the weights: what is there is encrypted", StoppedBy.CRYPTOGRAPHY)


@attack("plaintext", Power.ROOT, "find the weights in pages that can be swapped", either=StoppedBy.NOTHING)
def find_the_weights_in_pages_that_can_be_swapped(scene: AttackScene) -> Outcome:
    if not seen(scene).root["swappable"]:
        return Outcome("the weights are in locked pages alone", StoppedBy.SYSTEM)
    said = "they are in pages of the framework that nothing locks: whoever reads an unencrypted swap can find them"
    return Outcome(said, StoppedBy.NOTHING, "plaintext", elsewhere=True)


@attack(
    "plaintext",
    Power.ROOT,
    "find the content key in the memory of `weightlock run` after the model is loaded, swappable or not",
    either=StoppedBy.SYSTEM,
)
def find_the_content_key_in_memory(scene: AttackScene) -> Outcome:
    if seen(scene).root["key"] or not seen_unhardened(scene).root["weights"]:
        return Outcome("the content key is there", StoppedBy.NOTHING, "content key", elsewhere=True)
    said = "it is not there, where the same search finds the weights: keys are kept apart, and overwritten after use"
    return Outcome(said, StoppedBy.SYSTEM)
