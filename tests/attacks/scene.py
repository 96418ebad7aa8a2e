"""What attacks are tried on: a vendor, a licensed box with a model and its licenses, and another customer's box.

The licensed machine is the machine that this runs on: its real machine ID, a customer's home, and for the tier `tpm` a
real TPM protocol against a TPM in software (swtpm), certified by a maker whom the vendor trusts. Its GPU stands on
paper: a license names it, and what is tried with it passes what NVML would have reported.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy
import safetensors.numpy

from cryptors import Header, lock_model
from licensing.errors import LicensingError, TpmLibraryMissingError
from licensing.gpus import Gpu, GpuReading
from licensing.hardware import Hardware
from licensing.machine import read_machine
from licensing.tpm_library import tpm2_pytss
from licensing.unlock import unlock
from licensing.vendor_home import VendorHome
from tests.attacks.attack import CannotBeTriedError, Outcome, StoppedBy, Tier, require
from tests.attacks.boxes import GPU, OTHER_GPU, OTHER_MACHINE, CustomerBox, new_box, request_of
from tests.attacks.cheat import Loot, derived_without_checks
from tests.patterned_models import PATTERN
from tests.software_tpm import SoftwareTpm, TpmFactory

__all__ = ["AttackScene", "environment_variable", "made_scene", "write_model"]

FREE_SCRYPT = 2**14
STATE_VARIABLE, TCTI_VARIABLE = "WEIGHTLOCK_STATE", "WEIGHTLOCK_TCTI"


@dataclass(frozen=True)
class AttackScene:
    """Who takes part.

    Attributes:
        tier: that of the licensed box: `software` or `tpm`.
        folder: for what attacks write.
        vendor, stranger: two vendors; customers trust the first.
        trust: the first vendor's trust file.
        box: the licensed box.
        rival: another customer's box.
        model, other_model: two locked models; the box has a license for the first.
        headers: of both.
        license: binds the first model to the machine and the GPU.
        machine_license: binds both to the machine alone, so that commands run here without a GPU.
        rival_license: the other customer's, for the second model.
        makers: makes TPMs, in the tier `tpm`.
        foreign_tpm: the TPM of the machine to which attackers copy things, in the tier `tpm`.
    """

    tier: Tier
    folder: Path
    vendor: VendorHome
    stranger: VendorHome
    trust: Path
    box: CustomerBox
    rival: CustomerBox
    model: Path
    other_model: Path
    headers: dict[Path, Header]
    license: bytes
    machine_license: Path
    rival_license: bytes
    makers: TpmFactory | None
    foreign_tpm: SoftwareTpm | None

    def content_key(self, model: Path | None = None) -> bytes:
        """Returns the content key of a model: what an attacker wants, to compare with."""
        return self.vendor.content_key(self.headers[model or self.model].model_id)

    def new_folder(self, name: str) -> Path:
        """Returns an empty folder."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def copied_home(self, name: str, box: CustomerBox | None = None) -> Path:
        """Returns a copy of a customer's home, as a thief has it."""
        home = self.folder / name
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree((box or self.box).home, home)
        return home

    def issue(
        self, *models: Path, box: CustomerBox | None = None, gpus: tuple[Gpu, ...] = (GPU,), **terms: Any
    ) -> bytes:
        """Returns a license for a box, made from now on for 90 days unless the terms say otherwise."""
        now = terms.pop("now", datetime.now(timezone.utc))
        terms = {"customer": "Acme", "expires": now + timedelta(days=90), "allow_no_gpu": not gpus, **terms}
        request = request_of(box or self.box, gpus, self.vendor, self.makers, datetime.now(timezone.utc))
        ids = [self.headers[model].model_id for model in models or (self.model,)]
        return self.vendor.issue(request, ids, now=now, **terms).data

    def refusal(
        self, license: bytes, *, box: CustomerBox | None = None, model: Path | None = None, trust: Path | None = None,
        home: Path | None = None, foreign: bool = False, **options: Any,
    ) -> str | None:  # fmt: skip
        """Returns why unlocking refuses; None if it gives the content key.

        Args:
            license: the license file.
            box, model, trust, home: by default, the licensed ones.
            foreign: whether the machine is another one, with a TPM of its own.
            **options: of `unlock`.
        """
        header, box = self.headers[model or self.model], box or self.box
        path = self.folder / "tried.lic"
        path.write_bytes(license)
        with environment_variable(TCTI_VARIABLE, self.foreign_tcti if foreign else None):
            try:
                unlocked = unlock(
                    path, header.model_id, header.key_id, trust=trust or self.trust, home=home or box.home,
                    hardware=box.hardware, **options,
                )  # fmt: skip
            except LicensingError as error:
                return error.reason
        assert unlocked.content_key == self.content_key(model)
        return None

    def locked_out(
        self, reason: str | None, loot: Loot, what: str, *, model: Path | None = None, elsewhere: bool = True
    ) -> Outcome:
        """Judges an attack on the derivation: what our program said, and what the attacker's own program gets.

        Args:
            reason: why unlocking refused; None if it did not.
            loot: what the attacker has.
            what: what was refused, for people.
            model: whose content key is wanted; by default the first model's.
            elsewhere: whether what the attacker would get can be used on another machine. Where it can not, it is the
                use of the model on the licensed one.
        """
        header = self.headers[model or self.model]
        derived = derived_without_checks(loot, header.model_id, header.key_id)
        assert derived in (None, self.content_key(model))
        got = "content key" if elsewhere else "use of the model"
        if reason is None:
            return Outcome(f"{what}: unlocked", StoppedBy.NOTHING, got, elsewhere)  # type: ignore[arg-type]
        if derived is None:
            said = f"{what}: refused ({reason}); without any check, nothing can be derived"
            return Outcome(said, StoppedBy.CRYPTOGRAPHY)
        said = f"{what}: refused ({reason}); a program without checks derives the content key"
        return Outcome(said, StoppedBy.CHECK, got, elsewhere)  # type: ignore[arg-type]

    def everything(self, *licenses: bytes, **changes: Any) -> Loot:
        """Returns what somebody has who can do on the licensed machine what its user can."""
        have = {
            "licenses": licenses or (self.license,),
            "homes": (self.box.home,),
            "machines": (self.box.hardware.machine, OTHER_MACHINE),
            "gpus": (GPU.identity, OTHER_GPU.identity),
        }
        return Loot(**{**have, **changes})

    @property
    def foreign_tcti(self) -> str | None:
        """The way to the TPM of the attacker's machine."""
        return None if self.foreign_tpm is None else self.foreign_tpm.tcti

    def check(self) -> None:
        """Asserts that everything still works: an attack that fails because the scene is broken shows nothing.

        The licensed box unlocks, and so does the attacker's own program there.
        """
        header = self.headers[self.model]
        assert self.refusal(self.license) is None
        derived = derived_without_checks(self.everything(), header.model_id, header.key_id)
        assert derived == self.content_key()


@contextmanager
def environment_variable(name: str, value: str | os.PathLike[str] | None) -> Iterator[None]:
    """Sets a variable for a while; with None, it stays as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = os.fspath(value)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def write_model(path: Path) -> Path:
    """Writes a model of 1 MiB, whose weights are the pattern of tests/patterned_models.py, again and again."""
    weights = numpy.tile(numpy.frombuffer(PATTERN, numpy.float32), 2**14).reshape(512, 512)
    safetensors.numpy.save_file({"weight": weights}, path)
    return path


@contextmanager
def made_scene(tier: Tier, folder: Path) -> Iterator[AttackScene]:
    """Makes the scene of a tier, with its TPMs, which end with it."""
    with ExitStack() as stack:
        makers = _makers(folder, stack) if tier == "tpm" else None
        if STATE_VARIABLE not in os.environ:  # Tests have set one.
            stack.enter_context(environment_variable(STATE_VARIABLE, folder / "state"))
        vendor = VendorHome.create(folder / "vendor", "Löwe AI", scrypt_cost=FREE_SCRYPT)
        stranger = VendorHome.create(folder / "stranger", "Löwe AI", scrypt_cost=FREE_SCRYPT)
        trust = folder / "trust.jwks"
        trust.write_bytes(vendor.trust_path.read_bytes())
        models = {folder / f"{name}.locked": write_model(folder / f"{name}.safetensors") for name in ("net", "other")}
        headers = {locked: lock_model(vendor, plain, locked) for locked, plain in models.items()}
        model, other_model = headers
        box = new_box(folder / "home", Hardware(read_machine(), GpuReading((GPU,))), makers)
        rival = new_box(folder / "rival", Hardware(OTHER_MACHINE, GpuReading((OTHER_GPU,))), makers)
        for each in (box, rival):
            (each.home / "trust.jwks").write_bytes(trust.read_bytes())
        scene = AttackScene(
            tier, folder, vendor, stranger, trust, box, rival, model, other_model, headers, b"",
            folder / "machine.lic", b"", makers, None if makers is None else makers.new("foreign"),
        )  # fmt: skip
        scene.machine_license.write_bytes(scene.issue(model, other_model, gpus=()))
        scene = replace(
            scene,
            license=scene.issue(),
            rival_license=scene.issue(other_model, box=rival, gpus=(OTHER_GPU,), customer="Rival"),
        )
        scene.check()
        yield scene


def _makers(folder: Path, stack: ExitStack) -> TpmFactory:
    require("swtpm", "swtpm_setup", "swtpm_localca")
    try:
        tpm2_pytss()
    except TpmLibraryMissingError as cause:
        raise CannotBeTriedError("needs tpm2-pytss, which 'make dev' builds where libtss2-dev is") from cause
    (place := folder / "tpms").mkdir()
    return TpmFactory(place, stack)
