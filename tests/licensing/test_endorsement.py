"""Endorsement certificates: who vouches for a TPM, and for what kind of key."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from licensing.endorsement import first_certificate, is_for_key, read_bundle, verify_endorsement
from licensing.errors import EndorsementError, UsageError
from tests.endorsement_certificates import BEGIN, Authority, der, endorsement_certificate, pem

NOW = BEGIN + timedelta(days=3000)


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority.new("Root of a maker")


@pytest.fixture(scope="module")
def issuer(root: Authority) -> Authority:
    return Authority.new("Issuer of a maker", root)


@pytest.fixture(scope="module")
def elliptic() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def refused(*arguments: Any) -> str:
    with pytest.raises(EndorsementError) as refusal:
        verify_endorsement(*arguments)
    assert refusal.value.hints or refusal.value.reason == "endorsement_untrusted"
    return refusal.value.reason


def test_a_chain_to_the_vendors_bundle_is_accepted(
    root: Authority, issuer: Authority, small_key: rsa.RSAPrivateKey
) -> None:
    leaf = endorsement_certificate(issuer, small_key.public_key())
    stranger = Authority.new("Somebody else")
    for certificates, anchors in (
        ([leaf, issuer.certificate], [root.certificate]),
        ([leaf, root.certificate, issuer.certificate], [root.certificate]),
        ([leaf], [root.certificate, issuer.certificate]),
        ([leaf], [issuer.certificate]),
        ([leaf, stranger.certificate], [stranger.certificate, issuer.certificate]),
    ):
        verified, key = verify_endorsement([der(each) for each in certificates], anchors, NOW)
        assert (verified, key) == (leaf, small_key.public_key())


def test_a_key_on_p_256_agrees_on_keys(issuer: Authority, elliptic: ec.EllipticCurvePublicKey) -> None:
    leaf = endorsement_certificate(issuer, elliptic, usage=["key_agreement"])
    assert verify_endorsement([der(leaf)], [issuer.certificate], NOW)[1] == elliptic
    wrong = endorsement_certificate(issuer, elliptic, usage=["key_encipherment"])
    assert refused([der(wrong)], [issuer.certificate], NOW) == "endorsement_untrusted"


def test_anybody_can_found_an_authority_of_the_same_name(
    root: Authority, issuer: Authority, small_key: rsa.RSAPrivateKey
) -> None:
    false_root = Authority.new("Root of a maker")
    false_issuer = Authority.new("Issuer of a maker", false_root)
    leaf = endorsement_certificate(false_issuer, small_key.public_key())
    for between in ([], [false_issuer], [false_issuer, false_root], [issuer], [issuer, false_root]):
        chain = [der(leaf), *(der(each.certificate) for each in between)]
        assert refused(chain, [root.certificate], NOW) == "endorsement_untrusted"
        assert refused(chain, [root.certificate, issuer.certificate], NOW) == "endorsement_untrusted"


def test_a_certificate_that_certifies_itself_is_refused(root: Authority, small_key: rsa.RSAPrivateKey) -> None:
    own = Authority(root.certificate, ec.generate_private_key(ec.SECP256R1()))
    assert refused([der(endorsement_certificate(own, small_key.public_key()))], [root.certificate], NOW)


def test_an_endorsement_key_certifies_nobody(root: Authority, small_key: rsa.RSAPrivateKey) -> None:
    """Whoever has one good TPM on P-256 could otherwise certify as many as they like."""
    key = ec.generate_private_key(ec.SECP256R1())
    good = endorsement_certificate(root, key.public_key(), usage=["key_agreement"])
    leaf = endorsement_certificate(Authority(good, key), small_key.public_key())
    assert refused([der(leaf), der(good)], [root.certificate], NOW) == "endorsement_untrusted"


def test_without_a_certificate_nothing_is_proven(root: Authority) -> None:
    assert refused([], [root.certificate], NOW) == "endorsement_missing"


@pytest.mark.parametrize("days", [-1, 400 * 91])
def test_certificates_hold_for_a_time(days: int, small_key: rsa.RSAPrivateKey) -> None:
    root = Authority.new("Root of a maker", days=400 * 90)
    leaf = endorsement_certificate(root, small_key.public_key())
    assert verify_endorsement([der(leaf)], [root.certificate], NOW)
    assert refused([der(leaf)], [root.certificate], BEGIN + timedelta(days=days)) == "endorsement_untrusted"


CODE_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": []},
        {"usage": ["digital_signature"]},
        {"usage": ["key_agreement"]},
        {"usage": ["key_encipherment", "key_cert_sign"]},
        {"purposes": []},
        {"purposes": [CODE_SIGNING]},
        {"authority": True},
    ],
    ids=str,
)
def test_the_makers_other_certificates_are_no_endorsement(
    changes: dict[str, Any], root: Authority, small_key: rsa.RSAPrivateKey
) -> None:
    """A maker of TPMs certifies other keys as well, whose private halves are files."""
    leaf = endorsement_certificate(root, small_key.public_key(), **changes)
    assert refused([der(leaf)], [root.certificate], NOW) == "endorsement_untrusted"


def test_what_a_certificate_may_leave_out_or_add(root: Authority, small_key: rsa.RSAPrivateKey) -> None:
    changes: dict[str, Any]
    for changes in (
        {"authority": None},
        {"usage": ["key_encipherment", "digital_signature"]},
        {"purposes": [CODE_SIGNING, x509.ObjectIdentifier("2.23.133.8.1")]},
    ):
        leaf = endorsement_certificate(root, small_key.public_key(), **changes)
        assert verify_endorsement([der(leaf)], [root.certificate], NOW)


def test_other_kinds_of_keys_are_refused(root: Authority) -> None:
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=3072).public_key(),
        rsa.generate_private_key(public_exponent=3, key_size=2048).public_key(),
        ec.generate_private_key(ec.SECP384R1()).public_key(),
    ):
        usage = ["key_encipherment" if isinstance(key, rsa.RSAPublicKey) else "key_agreement"]
        leaf = endorsement_certificate(root, key, usage=usage)
        assert refused([der(leaf)], [root.certificate], NOW) == "endorsement_untrusted"


def test_what_is_no_certificate_is_refused(root: Authority, small_key: rsa.RSAPrivateKey) -> None:
    leaf = der(endorsement_certificate(root, small_key.public_key()))
    for data in (b"", b"\x30", leaf[:-1], leaf + b"\x00", bytes(len(leaf))):
        assert refused([data], [root.certificate], NOW) == "endorsement_untrusted"
        assert refused([leaf, data], [root.certificate], NOW) == "endorsement_untrusted"


def test_every_changed_byte_of_what_is_certified_is_noticed(root: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    certificate = endorsement_certificate(root, key, usage=["key_agreement"])
    leaf, signed = der(certificate), certificate.tbs_certificate_bytes
    begin = leaf.index(signed)
    for position in range(begin, begin + len(signed)):
        changed = leaf[:position] + bytes([leaf[position] ^ 1]) + leaf[position + 1 :]
        assert refused([changed], [root.certificate], NOW) == "endorsement_untrusted"


def test_bundles(root: Authority, issuer: Authority) -> None:
    text = b"# the makers that we trust\n" + pem(root.certificate, issuer.certificate)
    assert read_bundle(text) == [root.certificate, issuer.certificate]
    for data in (b"", b"nothing", der(root.certificate), pem(root.certificate)[:-40]):
        with pytest.raises(UsageError):
            read_bundle(data)


def test_certificates_are_found_before_the_filling_of_a_tpms_memory(
    root: Authority, small_key: rsa.RSAPrivateKey
) -> None:
    leaf = endorsement_certificate(root, small_key.public_key())
    for filling in (b"", bytes(100), b"\xff" * 100):
        assert first_certificate(der(leaf) + filling) == leaf
    for data in (b"", bytes(100), b"\xff" * 1000, der(leaf)[:-1]):
        assert first_certificate(data) is None


def test_a_certificate_fits_one_key(root: Authority, small_key: rsa.RSAPrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    leaf = endorsement_certificate(root, small_key.public_key())
    forms = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert is_for_key(leaf, small_key.public_key().public_bytes(*forms))
    assert not is_for_key(leaf, root.key.public_key().public_bytes(*forms))
