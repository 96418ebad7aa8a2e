"""Credentials for a TPM, made in software: what a TPM, and what the specification written out, make of them."""

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from licensing.errors import ChallengeError
from licensing.tpm import open_tpm
from licensing.tpm_credential import Credential, make_credential
from licensing.tpm_structures import DEVICE_KEY_TEMPLATE, device_key_public_area, name_of, public_key_of
from tests.endorsement_certificates import open_credential
from tests.software_tpm import SoftwareTpm

NAME = name_of(b"the public area of some object")
SECRET = bytes(range(32))
KINDS = ["EK-RSA2048", "EK-ECC256"]


@pytest.fixture(scope="module")
def elliptic() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("kind", ["small_key", "elliptic"])
def test_the_specification_written_out_opens_it(kind: str, request: pytest.FixtureRequest) -> None:
    key = request.getfixturevalue(kind)
    for _ in range(10):
        credential = make_credential(key.public_key(), NAME, SECRET)
        assert len(credential.identity) == 68
        assert len(credential.encrypted_seed) == (256 if kind == "small_key" else 68)
        assert open_credential(key, NAME, credential.identity, credential.encrypted_seed) == SECRET
        with pytest.raises(ValueError, match="integrity"):
            open_credential(key, name_of(b"another"), credential.identity, credential.encrypted_seed)


def test_two_credentials_have_nothing_in_common(small_key: rsa.RSAPrivateKey) -> None:
    first, second = (make_credential(small_key.public_key(), NAME, SECRET) for _ in range(2))
    assert first.encrypted_seed != second.encrypted_seed
    assert first.identity != second.identity
    assert SECRET not in first.identity


@pytest.mark.parametrize("kind", KINDS)
def test_a_tpm_opens_it_while_it_has_the_key_loaded(kind: str, software_tpm: SoftwareTpm) -> None:
    for _ in range(2):
        secret = secrets.token_bytes(32)
        with open_tpm(software_tpm.tcti) as tpm:
            parent = tpm.storage_key()
            public_area, private = tpm.create(parent, DEVICE_KEY_TEMPLATE)
            key = tpm.load(parent, public_area, private)
            tpm.forget(parent)
            endorsement_key, pem, _ = tpm.endorsement_key(kind)
            public_key = load_pem_public_key(pem)
            assert isinstance(public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
            assert (
                tpm.activate(key, endorsement_key, make_credential(public_key, name_of(public_area), secret)) == secret
            )


@pytest.mark.parametrize("kind", KINDS)
def test_a_tpm_opens_it_for_no_other_key_and_no_other_tpm(
    kind: str, software_tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    with open_tpm(other_tpm.tcti) as tpm:
        elsewhere = load_pem_public_key(tpm.endorsement_key(kind)[1])
    with open_tpm(software_tpm.tcti) as tpm:
        parent = tpm.storage_key()
        public_area, private = tpm.create(parent, DEVICE_KEY_TEMPLATE)
        key = tpm.load(parent, public_area, private)
        tpm.forget(parent)
        endorsement_key, pem, _ = tpm.endorsement_key(kind)
        here = load_pem_public_key(pem)
        assert isinstance(here, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        assert isinstance(elsewhere, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        good = make_credential(here, name_of(public_area), SECRET)
        exportable = public_area[:4] + bytes.fromhex("00020460") + public_area[8:]
        for wrong in (
            make_credential(elsewhere, name_of(public_area), SECRET),
            make_credential(here, NAME, SECRET),
            make_credential(here, name_of(exportable), SECRET),
            Credential(good.identity[:-1] + bytes([good.identity[-1] ^ 1]), good.encrypted_seed),
            Credential(good.identity, good.encrypted_seed[:-1] + bytes([good.encrypted_seed[-1] ^ 1])),
        ):
            with pytest.raises(ChallengeError):
                tpm.activate(key, endorsement_key, wrong)


def test_the_public_area_of_a_device_key_is_what_the_specification_says(software_tpm: SoftwareTpm) -> None:
    with open_tpm(software_tpm.tcti) as tpm:
        public_area, _ = tpm.create(tpm.storage_key(), DEVICE_KEY_TEMPLATE)
    assert public_area[:24].hex() == "0001000b0002047200000010" + "0017000b" + "0800000000000100"
    public_key = public_key_of(public_area)
    assert device_key_public_area(public_key) == public_area
    assert public_key.key_size == 2048


def test_other_public_areas_are_no_device_keys(small_key: rsa.RSAPrivateKey) -> None:
    good = device_key_public_area(small_key.public_key())
    assert public_key_of(good) == small_key.public_key()
    for position in range(24):
        with pytest.raises(ValueError, match="not the public area"):
            public_key_of(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
    for wrong in (b"", good[:-1], good + b"\x00", good[:24] + bytes(256), good[:24] + b"\x7f" + good[25:]):
        with pytest.raises(ValueError):
            public_key_of(wrong)
