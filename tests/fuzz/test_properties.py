"""Values that Hypothesis makes up: what is written is parsed as the same value, and written again as the same bytes.

The fuzzer begins with bytes and mostly meets refusals; this begins with values that all must be accepted.
"""

import json
import string
from datetime import timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as some

from cryptors.errors import ModelMalformedError
from cryptors.header import Header, Parent, header_length
from cryptors.index import LENGTH_BYTES, MAX_PATH_BYTES, Index, build_index
from cryptors.stream import MAX_PLAINTEXT_BYTES
from licensing.encoding import MAX_EPOCH, b64url_decode, b64url_encode
from licensing.errors import MalformedError
from licensing.license import LICENSE_TYPE, LicenseFile, license_file_bytes
from licensing.policy import MAX_POLICY_SECONDS, Policy, policy_claims, read_policy
from licensing.strict_json import MAX_DEPTH, MAX_INTEGER, canonical, parse_canonical, parse_object
from licensing.time_state import TimeState, TpmRecord
from licensing.tpm_device_key import TpmKeyFile
from tests.fuzz.material import STATE_KEY, vendor_key
from tests.raw_jws import b64, header_of

PROPERTY = settings(max_examples=50, deadline=None, derandomize=True)

TEXT = some.text(some.characters(exclude_categories=("C", "Z")) | some.just(" "), min_size=1, max_size=200)
UUID = some.uuids().map(str)
THUMBPRINT = some.binary(min_size=32, max_size=32).map(b64url_encode)
TIME = some.integers(0, MAX_EPOCH)
INTEGER = some.integers(-MAX_INTEGER, MAX_INTEGER)
STRING = some.text(some.characters(codec="utf-8"))
VALUE = some.recursive(
    some.none() | some.booleans() | INTEGER | STRING,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(STRING, inner, max_size=4),
    max_leaves=20,
)


@PROPERTY
@given(some.dictionaries(STRING, VALUE))
def test_json(value: dict[str, Any]) -> None:
    assume(depth(value) <= MAX_DEPTH)
    written, spaced = canonical(value), json.dumps(value, indent=1).encode()
    assert parse_canonical(written, "text", MalformedError, len(written)) == value
    assert parse_object(spaced, "text", MalformedError, len(spaced)) == value


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


@PROPERTY
@given(some.binary())
def test_base64url(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data)) == data


@PROPERTY
@given(some.text(string.ascii_letters + string.digits + "-_=+/ \n", max_size=12))
def test_base64url_has_one_text_for_each_value(text: str) -> None:
    try:
        data = b64url_decode(text)
    except ValueError:
        return
    assert b64url_encode(data) == text


PATH = some.text(some.sampled_from("ab/.é\U0001f600 -_"), min_size=1, max_size=MAX_PATH_BYTES // 4)


@PROPERTY
@given(some.dictionaries(PATH, some.integers(0, 2**40), min_size=1, max_size=8), some.booleans(), some.booleans())
def test_index(sizes: dict[str, int], directory: bool, with_entry: bool) -> None:
    sizes = sizes if directory else dict(list(sizes.items())[:1])
    try:
        index = build_index(sizes, directory, min(sizes) if with_entry else None)
    except ModelMalformedError:
        return  # A path that no container holds.
    written = index.to_bytes()
    length = int.from_bytes(written[:LENGTH_BYTES], "big")
    again = Index.parse(written[LENGTH_BYTES : LENGTH_BYTES + length], index.plaintext_bytes)
    assert again == index
    assert again.to_bytes() == written


@PROPERTY
@given(
    some.builds(
        Header,
        model_id=UUID,
        name=TEXT,
        model_type=some.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=32),
        key_id=some.binary(min_size=16, max_size=16).map(bytes.hex),
        plaintext_bytes=some.integers(1, min(MAX_PLAINTEXT_BYTES, MAX_INTEGER)),
        content_bytes=some.integers(0, MAX_INTEGER),
        files=some.integers(1, 65536),
        created=some.datetimes().map(lambda moment: f"{moment:%H:%M:%S}").map(lambda time: f"2026-07-01T{time}Z"),
        generator=TEXT,
        parent=some.none() | some.builds(Parent, UUID, some.binary(min_size=16, max_size=16).map(bytes.hex)),
        encoded=some.just(b""),
    )
)
def test_container_header(header: Header) -> None:
    encoded = header.encode()
    assert Header.parse(encoded.encoded) == encoded
    assert header_length(encoded.prefix()) == len(encoded.encoded)
    assert encoded.encode() == encoded


STATE = some.builds(
    TimeState,
    device=some.just(STATE_KEY.device),
    created=TIME,
    highest=TIME,
    provisional=some.none() | TIME,
    resets=some.lists(UUID, unique=True, max_size=5).map(tuple),
    reset_by=some.lists(THUMBPRINT, unique=True, max_size=3).map(tuple),
    tpm=some.none()
    | some.builds(TpmRecord, TIME, some.integers(0, MAX_INTEGER), some.integers(0, 2**32 - 1), some.just(0)),
)


@PROPERTY
@given(STATE)
def test_time_state(state: TimeState) -> None:
    written = state.to_bytes(STATE_KEY)
    assert TimeState.parse(written, STATE_KEY) == state
    assert TimeState.parse(written, STATE_KEY).to_bytes(STATE_KEY) == written


@PROPERTY
@given(
    some.builds(
        TpmKeyFile,
        tcti=some.sampled_from(["device", "device:/dev/tpmrm0", "swtpm:path=/run/x"]),
        public_area=some.binary(min_size=280, max_size=280),
        private=some.binary(min_size=1, max_size=1024),
        authentication=some.binary(min_size=256, max_size=256),
    )
)
def test_tpm_key_file(file: TpmKeyFile) -> None:
    assert TpmKeyFile.parse(file.to_bytes()) == file


SECONDS = some.integers(0, MAX_POLICY_SECONDS).map(lambda seconds: timedelta(seconds=seconds))


@PROPERTY
@given(some.builds(Policy, grace=SECONDS, step_back=SECONDS, vgpu=some.booleans()))
def test_policy(policy: Policy) -> None:
    assert read_policy(policy_claims(policy)) == policy


SLOT = some.integers(1, 999).map(lambda number: f"slot-{number}")


@PROPERTY
@given(
    some.dictionaries(STRING, INTEGER | STRING, max_size=5),
    some.dictionaries(some.tuples(UUID, SLOT), some.binary(min_size=40, max_size=40), min_size=1, max_size=5),
)
def test_license_file(claims: dict[str, Any], grants: dict[tuple[str, str], bytes]) -> None:
    text = f"{b64(header_of(vendor_key(), LICENSE_TYPE))}.{b64(canonical(claims))}.{b64(bytes(64))}"
    written = license_file_bytes(text, grants)
    file = LicenseFile.parse(written)
    assert (file.signed.text, file.grants) == (text, grants)
    assert file.to_bytes() == written
