"""The vendor's signing key: what is made, and what opens."""

from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from licensing.errors import UsageError, VendorHomeError
from licensing.jwk import algorithm_of, thumbprint
from licensing.master_key import MasterKey
from licensing.signing_key import SigningAlgorithm, new_signing_key, open_signing_key, seal_signing_key


@pytest.mark.parametrize("algorithm", ["EdDSA", "PS256", "ES256"])
def test_a_sealed_key_opens_as_the_same_key(algorithm: SigningAlgorithm) -> None:
    signing_key, master_key = new_signing_key(algorithm), MasterKey.generate()
    name = thumbprint(signing_key.public_key())
    opened = open_signing_key(seal_signing_key(signing_key, master_key), name, master_key)
    assert thumbprint(opened.public_key()) == name
    assert algorithm_of(opened.public_key()) == algorithm


def test_rsa_keys_have_3072_bits() -> None:
    signing_key = new_signing_key("PS256")
    assert isinstance(signing_key, rsa.RSAPrivateKey)
    assert signing_key.key_size == 3072


def test_another_key_of_the_same_vendor_does_not_open_in_its_place() -> None:
    old, new, master_key = new_signing_key("EdDSA"), new_signing_key("EdDSA"), MasterKey.generate()
    with pytest.raises(VendorHomeError):
        open_signing_key(seal_signing_key(old, master_key), thumbprint(new.public_key()), master_key)


def test_a_sealed_secret_that_is_no_key_is_refused() -> None:
    master_key = MasterKey.generate()
    for secret in (b"", b"no key", bytes(200)):
        with pytest.raises(VendorHomeError, match="cannot be read"):
            open_signing_key(master_key.seal("signing-key", "A", secret), "A", master_key)


@pytest.mark.parametrize("algorithm", ["HS256", "none", "RS256", ""])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    with pytest.raises(UsageError):
        new_signing_key(cast(SigningAlgorithm, algorithm))
