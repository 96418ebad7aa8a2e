"""The tier `tpm` from the first request to the unlocked model, with commands and with TPMs in software."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from licensing.device_key import create_device_key, device_key_path, open_device_key, tpm_device_key_path
from licensing.encoding import b64url_encode
from licensing.enrolment_box import respond
from licensing.enrolment_files import Challenge
from licensing.errors import LicensingError
from licensing.hardware import read_hardware
from licensing.jwk import to_jwk
from licensing.machine import read_machine
from licensing.tpm import TCTI_VARIABLE, open_tpm
from licensing.tpm_device_key import TpmDeviceKey
from licensing.tpm_structures import device_key_public_area
from licensing.unlock import UnlockedModel, unlock
from licensing.vendor_home import VendorHome
from tests.command_line import Outcome, environment, here
from tests.components import need
from tests.endorsement_certificates import Authority, der, endorsement_certificate, pem
from tests.software_tpm import SoftwareTpm, TpmFactory
from tests.vendor_desk import write_model


@dataclass(frozen=True)
class Exchange:
    """A vendor's home with a locked model, a customer's home, and the files that go between them."""

    vendor: Path
    locked: Path
    home: Path
    folder: Path
    bundle: Path

    def path(self, name: str) -> Path:
        return self.folder / name

    def request(self, tpm: SoftwareTpm | None, *options: str | Path) -> Outcome:
        where = () if tpm is None else ("--tpm", tpm.tcti)
        arguments = ("--gpu", "none", "--home", self.home, "--force", "--json")
        return here("request", "-o", self.path("box.req"), *where, *arguments, *options)

    def challenge(self, bundle: Path | None = None) -> Outcome:
        options = ("-o", self.path("box.challenge"), "--ca", bundle or self.bundle, "--force", "--json")
        return here("challenge", self.path("box.req"), *options, "--home", self.vendor)

    def respond(self, home: Path | None = None) -> Outcome:
        options = ("-o", self.path("box.response"), "--home", home or self.home, "--force", "--json")
        return here("respond", self.path("box.challenge"), *options)

    def issue(self, name: str = "box.response", *options: str) -> Outcome:
        terms = ("-m", self.locked, "--customer", "Acme", "--days", "30", "--allow-no-gpu", "--force", "--json")
        return here("issue", self.path(name), *terms, *options, "-o", self.path("acme.lic"), "--home", self.vendor)

    def status(self, home: Path | None = None) -> Outcome:
        trust = ("--trust", self.vendor / "trust.jwks", "--home", home or self.home, "--json")
        return here("status", self.path("acme.lic"), *trust)

    def unlock(self, home: Path | None = None) -> UnlockedModel:
        (model,) = VendorHome.open(self.vendor).models()
        return unlock(
            self.path("acme.lic"),
            model.model_id,
            model.key_id,
            trust=self.vendor / "trust.jwks",
            home=home or self.home,
            hardware=read_hardware(),
        )

    def enrol(self, tpm: SoftwareTpm) -> None:
        """Goes all the way to the license."""
        self.request(tpm).done()
        self.challenge().done()
        self.respond().done()
        self.issue().done()


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a vendor's home and a locked model."""
    folder = tmp_path_factory.mktemp("vendor")
    write_model(folder / "net.pth", 1000)
    here("vendor", "init", "--name", "Löwe AI", "--home", folder / "home").done()
    here("encrypt", folder / "net.pth", "-o", folder / "net.locked", "--home", folder / "home").done()
    return folder


@pytest.fixture
def exchange(vendor: Path, software_tpm: SoftwareTpm, tmp_path: Path) -> Exchange:
    return Exchange(vendor / "home", vendor / "net.locked", tmp_path / "customer", tmp_path, software_tpm.maker.bundle)


def test_a_license_of_the_tier_tpm_by_files_alone(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    made = exchange.request(software_tpm).done().facts
    assert (made["tier"], made["device_key_made"]) == ("tpm", True)
    assert not device_key_path(exchange.home).exists()
    challenged = exchange.challenge().done().facts
    assert challenged["device"] == made["device"]
    assert challenged["certificate_issuer"] == "CN=swtpm-localca"
    assert exchange.respond().done().facts["device"] == made["device"]
    assert exchange.issue("box.response", "--require-tpm").done().facts["tier"] == "tpm"
    status = exchange.status().done().facts
    assert status["tier"] == "tpm"
    assert {"name": "device key", "ok": True, "message": "tier tpm"} in status["checks"]
    unlocked = exchange.unlock()
    (model,) = VendorHome.open(exchange.vendor).models()
    assert unlocked.content_key == VendorHome.open(exchange.vendor).content_key(model.model_id)
    assert unlocked.tier == "tpm"


def test_without_the_exchange_there_is_no_license(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    exchange.request(software_tpm).done()
    sentence = exchange.issue("box.req").refused(3, "tpm_proof_required")
    assert sentence == "the license request does not prove yet that its device key is in a TPM"
    exchange.challenge().done()
    exchange.issue("box.challenge").refused(3, "tpm_proof_required")
    assert not exchange.path("acme.lic").exists()


@pytest.mark.slow
def test_the_next_request_uses_the_key_that_is_there(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    first = exchange.request(software_tpm).done().facts
    for tpm in (None, software_tpm):
        again = exchange.request(tpm).done().facts
        assert (again["device"], again["tier"], again["device_key_made"]) == (first["device"], "tpm", False)


# Attacks.


def test_a_software_tpm_that_poses_as_a_real_one(exchange: Exchange, posing_tpm: SoftwareTpm) -> None:
    """Its certificates name the same authorities as the maker's, and are signed by other keys."""
    exchange.request(posing_tpm).done()
    exchange.challenge().refused(3, "endorsement_untrusted")
    assert not exchange.path("box.challenge").exists()
    exchange.challenge(posing_tpm.maker.bundle).done()  # It is the bundle that tells them apart.


@pytest.mark.slow
def test_a_tpm_without_a_certificate(exchange: Exchange, tpm_factory: TpmFactory) -> None:
    bare = tpm_factory.new("bare", certify=False)
    sentence = exchange.request(bare).refused(3, "endorsement_missing")
    assert sentence == "the TPM holds no certificate for its endorsement key"
    assert not exchange.path("box.req").exists()


@pytest.mark.slow
def test_somebody_elses_certificate_does_not_help(
    exchange: Exchange, software_tpm: SoftwareTpm, posing_tpm: SoftwareTpm, tmp_path: Path
) -> None:
    """The poser sends the certificate of a good TPM, and gets a challenge that only that TPM can open."""
    exchange.request(software_tpm).done()
    good = json.loads(exchange.path("box.req").read_bytes())["tpm_request"]["tpm"]["certificates"]
    poser = Exchange(exchange.vendor, exchange.locked, tmp_path / "poser", tmp_path, exchange.bundle)
    poser.request(posing_tpm).done()
    request = json.loads(poser.path("box.req").read_bytes())
    request["tpm_request"]["tpm"]["certificates"] = good
    for path in (poser.path("box.req"), poser.home / "tpm-request.json"):
        path.write_text(json.dumps(request))
    poser.challenge().done()
    poser.respond().refused(3, "challenge_mismatch")
    assert not poser.path("box.response").exists()


def test_a_software_key_cannot_pretend_to_be_in_a_tpm(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    """The poser has a good TPM and a key of its own beside it, which it could copy; the TPM opens nothing for it."""
    exchange.request(software_tpm).done()
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    request = json.loads(exchange.path("box.req").read_bytes())
    request["tpm_request"]["cnf"]["jwk"] = to_jwk(own)
    request["tpm_request"]["tpm"]["public"] = b64url_encode(device_key_public_area(own))
    for path in (exchange.path("box.req"), exchange.home / "tpm-request.json"):
        path.write_text(json.dumps(request))
    exchange.challenge().done()
    exchange.respond().refused(3, "challenge_mismatch")
    # And with the program patched, the TPM is asked, and refuses.
    device_key = open_device_key(exchange.home, read_machine())
    assert isinstance(device_key, TpmDeviceKey)
    challenge = Challenge.parse(exchange.path("box.challenge").read_bytes())
    with open_tpm(software_tpm.tcti) as tpm:
        key, endorsement_key = device_key.load(tpm), tpm.endorsement_key("EK-RSA2048")[0]
        with pytest.raises(LicensingError, match="for another device key"):
            tpm.activate(key, endorsement_key, challenge.credential)


def test_a_software_key_does_not_satisfy_the_license(
    exchange: Exchange, software_tpm: SoftwareTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.enrol(software_tpm)
    software = tmp_path / "software"
    create_device_key(software, read_machine())
    status = exchange.status(software)
    assert "demands a device key of the tier 'tpm', and this one is 'software'" in status.stdout
    status.refused(3, "device_key_mismatch")
    # With the comparison patched out, the secret is still wrapped to the key in the TPM.
    monkeypatch.setattr(
        "licensing.unlock.step_8_open_device_key", lambda claims, home, box: open_device_key(home, box.machine)
    )
    with pytest.raises(LicensingError) as refusal:
        exchange.unlock(software)
    assert refusal.value.reason == "device_key_mismatch"


@pytest.mark.slow
def test_the_home_on_a_box_with_another_tpm(
    exchange: Exchange, software_tpm: SoftwareTpm, other_tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything was copied, the hardware is imitated, and the TPM is another one of the same maker."""
    exchange.enrol(software_tpm)
    copied = Path(shutil.copytree(exchange.home, exchange.path("copied")))
    monkeypatch.setenv(TCTI_VARIABLE, other_tpm.tcti)
    exchange.status(copied).refused(3, "device_key_mismatch")
    with pytest.raises(LicensingError) as refusal:
        exchange.unlock(copied)
    assert refusal.value.reason == "device_key_mismatch"
    monkeypatch.delenv(TCTI_VARIABLE)
    assert exchange.unlock(copied).tier == "tpm"


# What goes wrong without anybody's intention.


@pytest.mark.slow
def test_a_challenge_for_an_older_request(exchange: Exchange, software_tpm: SoftwareTpm, tmp_path: Path) -> None:
    exchange.request(software_tpm).done()
    exchange.challenge().done()
    exchange.request(software_tpm).done()
    assert "not for the last request" in exchange.respond().refused(3, "challenge_mismatch")
    empty = Exchange(exchange.vendor, exchange.locked, tmp_path / "elsewhere", tmp_path, exchange.bundle)
    empty.respond().refused(3, "device_key_missing")


@pytest.mark.slow
def test_a_challenge_that_has_ended(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    """The box says so at once, and does not wait for the vendor to say it."""
    exchange.request(software_tpm).done()
    exchange.challenge().done()
    data = exchange.path("box.challenge").read_bytes()
    device_key, end = open_device_key(exchange.home, read_machine()), Challenge.parse(data).expires
    assert isinstance(device_key, TpmDeviceKey)
    assert respond(device_key, exchange.home, data, end - timedelta(seconds=1))
    with pytest.raises(LicensingError) as refusal:
        respond(device_key, exchange.home, data, end)
    assert refusal.value.reason == "challenge_expired"
    assert "the request is still good" in refusal.value.hints[0]


@pytest.mark.slow
def test_the_key_was_replaced_in_between(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    exchange.request(software_tpm).done()
    exchange.challenge().done()
    copy = (exchange.home / "tpm-request.json").read_bytes()
    exchange.request(software_tpm, "--new-device-key").done()
    (exchange.home / "tpm-request.json").write_bytes(copy)
    assert "the device key was replaced" in exchange.respond().refused(3, "challenge_mismatch")
    for damage in (b"", copy[:-1]):
        (exchange.home / "tpm-request.json").write_bytes(damage)
        assert "is damaged" in exchange.respond().refused(3, "challenge_mismatch")


@pytest.mark.slow
def test_another_tpm_than_that_of_the_request(
    exchange: Exchange, software_tpm: SoftwareTpm, other_tpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange.request(software_tpm).done()
    exchange.challenge().done()
    monkeypatch.setenv(TCTI_VARIABLE, other_tpm.tcti)
    exchange.respond().refused(3, "device_key_mismatch")
    exchange.request(None).refused(3, "device_key_mismatch")


@pytest.mark.slow
def test_a_lost_time_state_is_mended_for_a_tpm_too(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    """What authenticates the state is a secret that only the TPM unwraps, and the TPM's clock is a witness."""
    exchange.enrol(software_tpm)
    assert exchange.unlock().tier == "tpm"
    (exchange.home / "time-state.json").unlink()
    exchange.status().refused(3, "clock_state_missing")
    reset, trust = exchange.path("reset"), ("--trust", exchange.vendor / "trust.jwks")
    exchange.request(None).done()
    here("reset-clock", exchange.path("box.req"), "-o", reset, "--home", exchange.vendor).done()
    here("apply", reset, *trust, "--home", exchange.home).done()
    assert exchange.unlock().tier == "tpm"


@pytest.mark.slow
def test_what_the_files_say(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    exchange.enrol(software_tpm)
    kinds = {
        "box.req": "license request",
        "box.challenge": "challenge to a TPM",
        "box.response": "response to a challenge",
    }
    for name, kind in kinds.items():
        facts = here("inspect", exchange.path(name), "--json").done().facts
        assert facts["kind"] == kind
        assert facts.get("tier", "tpm") == "tpm"
        assert facts.get("certificate_issuer", "CN=swtpm-localca") == "CN=swtpm-localca"
        assert kind in here("inspect", exchange.path(name)).done().stdout


@pytest.mark.slow
def test_a_home_with_a_software_key(exchange: Exchange, software_tpm: SoftwareTpm) -> None:
    before = exchange.request(None).done().facts
    exchange.request(software_tpm).refused(1, "device_key_exists")
    exchange.challenge().refused(3, "request_malformed")
    now = exchange.request(software_tpm, "--new-device-key").done().facts
    assert (before["tier"], now["tier"], now["device_key_made"]) == ("software", "tpm", True)
    assert (exchange.home / "device-key.pem.old-1").exists()
    assert tpm_device_key_path(exchange.home).exists()


@pytest.mark.slow
def test_a_vendor_who_wants_a_tpm(exchange: Exchange) -> None:
    exchange.request(None).done()
    before = VendorHome.open(exchange.vendor).licenses()
    assert "is not in a TPM" in exchange.issue("box.req", "--require-tpm").refused(3, "tpm_proof_required")
    assert VendorHome.open(exchange.vendor).licenses() == before
    assert exchange.issue("box.req").done().facts["tier"] == "software"


@pytest.mark.slow
def test_respond_and_a_software_key(exchange: Exchange, software_tpm: SoftwareTpm, tmp_path: Path) -> None:
    exchange.request(software_tpm).done()
    exchange.challenge().done()
    software = Exchange(exchange.vendor, exchange.locked, tmp_path / "software", tmp_path, exchange.bundle)
    software.request(None).done()
    software.respond().refused(2, "usage")


@pytest.mark.slow
def test_a_bundle_that_is_none(exchange: Exchange, software_tpm: SoftwareTpm, tmp_path: Path) -> None:
    exchange.request(software_tpm).done()
    exchange.challenge(tmp_path / "nothing.pem").refused(1, "file_not_found")
    (tmp_path / "bundle.pem").write_text("nothing")
    exchange.challenge(tmp_path / "bundle.pem").refused(2, "usage")


def test_without_the_package_for_tpms(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    exchange.request(None, "--tpm", "device:/dev/tpmrm0").refused(5, "tpm_library_missing")


@pytest.mark.slow
def test_a_tpm_that_is_not_there(exchange: Exchange) -> None:
    exchange.request(None, "--tpm", "swtpm:path=/nowhere/sock").refused(3, "tpm_unavailable")
    exchange.request(None, "--tpm", "/tmp/libevil.so").refused(2, "usage")
    assert not tpm_device_key_path(exchange.home).exists()


@pytest.mark.slow
def test_a_certificate_beside_the_tpm(exchange: Exchange, tpm_factory: TpmFactory, tmp_path: Path) -> None:
    """Some makers publish the certificate in place of storing it in the TPM; here on P-256, with its chain."""
    bare = tpm_factory.new("beside", certify=False)
    leaf, issuer, root = certified_on_p_256(bare)
    (tmp_path / "root.pem").write_bytes(pem(root.certificate))
    (tmp_path / "chain.pem").write_bytes(pem(issuer.certificate, leaf, root.certificate))
    exchange.request(bare, "--tpm-certificate", tmp_path / "chain.pem").done()
    exchange.challenge().refused(3, "endorsement_untrusted")
    exchange.challenge(tmp_path / "root.pem").done()
    exchange.respond().done()
    exchange.issue().done()
    assert exchange.unlock().tier == "tpm"
    (tmp_path / "wrong.pem").write_bytes(pem(root.certificate))
    exchange.request(bare, "--tpm-certificate", tmp_path / "wrong.pem").refused(3, "endorsement_missing")


def certified_on_p_256(tpm: SoftwareTpm) -> tuple[x509.Certificate, Authority, Authority]:
    """Returns a certificate for a TPM's endorsement key on P-256, who issued it, and the root above."""
    with open_tpm(tpm.tcti) as opened:
        key = load_pem_public_key(opened.endorsement_key("EK-ECC256")[1])
    root = Authority.new("Root of another maker")
    issuer = Authority.new("Issuer of another maker", root)
    return endorsement_certificate(issuer, key, usage=["key_agreement"]), issuer, root


@pytest.mark.slow
def test_certificates_in_the_memory_of_a_tpm(exchange: Exchange, tpm_factory: TpmFactory, tmp_path: Path) -> None:
    """Where makers put that of a key on P-256, with filling behind it, and those of the authorities above."""
    need("tpm2_nvdefine")
    tpm = tpm_factory.new("with a chain", certify=False)
    leaf, issuer, root = certified_on_p_256(tpm)
    variables = {**environment(), "TPM2TOOLS_TCTI": tpm.tcti}
    for index, data in (
        (0x01C0000A, der(leaf) + b"\xff" * 99),
        (0x01C00100, der(issuer.certificate)),
        (0x01C00101, b"?"),
    ):
        options = ("-C", "o", "-s", str(len(data)), "-a", "ownerwrite|authread|ownerread|no_da")
        subprocess.run(["tpm2_nvdefine", hex(index), *options], env=variables, check=True, capture_output=True)
        write = ["tpm2_nvwrite", hex(index), "-C", "o", "-i", "-"]
        subprocess.run(write, input=data, env=variables, check=True, capture_output=True)
    (tmp_path / "root.pem").write_bytes(pem(root.certificate))
    exchange.request(tpm).done()
    exchange.challenge(tmp_path / "root.pem").done()
    exchange.respond().done()
    exchange.issue().done()
    assert exchange.unlock().tier == "tpm"


@pytest.mark.slow
def test_a_certificate_goes_with_a_tpm(exchange: Exchange, tmp_path: Path) -> None:
    exchange.request(None, "--tpm-certificate", tmp_path / "chain.pem").refused(2, "usage")
