"""Files that are not what a command wants: each gets its sentence and its exit code, and nothing is lost or made."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import pytest

from licensing.device_key import create_device_key
from licensing.hardware import read_hardware
from licensing.request import make_request
from tests.command_line import here, obeying_modes
from tests.forked import forked
from tests.story import Story, unchanged

Arguments = tuple[str | Path, ...]


@dataclass(frozen=True)
class Place:
    """A place of a command where a file is named.

    Attributes:
        wants: the kind of file that belongs there.
        arguments: the command's, from the story, the file and an output.
        code, reason: how content that does not belong there is refused.
        reasons: other reasons, by the kind of file.
    """

    wants: str
    arguments: Callable[[Story, Path, Path], Arguments]
    code: int
    reason: str
    reasons: dict[str, tuple[int, str]]


_CUT = {"truncated": (4, "model_damaged"), "lengthened": (4, "model_damaged")}
_EMPTY = {"empty": (4, "model_source_invalid")}
_KNOWN = dict.fromkeys(("locked model", "request", "license", "trust file"), (0, ""))

PLACES = {
    "encrypt": Place(
        "model", lambda s, f, o: ("encrypt", f, "-o", o, "--home", s.vendor), 4, "model_type_mismatch", _EMPTY
    ),
    "encrypt --type": Place(
        "model",
        lambda s, f, o: ("encrypt", f, "--type", "onnx", "-o", o, "--home", s.vendor),
        4,
        "model_type_mismatch",
        _EMPTY,
    ),
    "decrypt": Place(
        "locked model", lambda s, f, o: ("decrypt", f, "-o", o, "--home", s.vendor), 4, "model_malformed", _CUT
    ),
    "issue": Place(
        "request", lambda s, f, o: s.issue(o, "--days", "3", request=f), 3, "request_malformed", {}
    ),
    "issue -m": Place(
        "locked model", lambda s, f, o: s.issue(o, "--days", "3", "-m", f), 4, "model_malformed", _CUT
    ),
    "run": Place("locked model", lambda s, f, o: s.run(o, locked=f), 4, "model_malformed", _CUT),
    "run --license": Place("license", lambda s, f, o: s.run(o, license=f), 3, "license_malformed", {}),
    "run --trust": Place("trust file", lambda s, f, o: s.run(o, "--trust", f), 3, "trust_malformed", {}),
    "run --input": Place("arrays", lambda s, f, o: s.run(o, inputs=f), 1, "input_malformed", {}),
    "status": Place(
        "license", lambda s, f, o: ("status", f, "--home", s.customer), 3, "license_malformed", {}
    ),
    "status --trust": Place(
        "trust file",
        lambda s, f, o: ("status", s.license, "--trust", f, "--home", s.customer),
        3,
        "trust_malformed",
        {},
    ),
    "inspect": Place("locked model", lambda s, f, o: ("inspect", f), 1, "file_unknown", {**_CUT, **_KNOWN}),
}  # fmt: skip


def good_files(story: Story) -> dict[str, Path]:
    return {
        "model": story.plain,
        "locked model": story.locked,
        "request": story.request,
        "license": story.license,
        "trust file": story.trust,
        "arrays": story.inputs,
    }


def spoilt(how: str, good: Path, folder: Path) -> Path:
    """Returns a file that is spoilt in one way; the good one stays as it is."""
    path, data = folder / good.name, good.read_bytes()
    content = {
        "empty": b"",
        "truncated": data[:-1],
        "halved": data[: len(data) // 2],
        "binary": bytes(range(256)) * 40,
        "not UTF-8": "Löwe".encode("latin-1"),
    }
    path.write_bytes(content.get(how, data if how == "lengthened" else b""))
    if how in ("huge", "lengthened"):
        os.truncate(path, 2**40)  # Sparse: a terabyte that takes no room.
    return path


SPOILT = ["empty", "truncated", "halved", "lengthened", "huge", "binary", "not UTF-8"]


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("name", PLACES)
def test_spoilt_file_is_refused(name: str, how: str, story: Story, tmp_path: Path) -> None:
    place, output = PLACES[name], tmp_path / "output"
    file = spoilt(how, good_files(story)[place.wants], tmp_path)
    expected = place.reasons.get("truncated" if how == "halved" else how, (place.code, place.reason))
    with unchanged(story.folder), unchanged(tmp_path):
        here(*place.arguments(story, file, output), "--json").refused(*expected)


KINDS = ["model", "locked model", "request", "license", "trust file", "arrays"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PLACES)
def test_file_of_another_kind_is_refused(name: str, kind: str, story: Story, tmp_path: Path) -> None:
    place = PLACES[name]
    expected = (0, "") if kind == place.wants else place.reasons.get(kind, (place.code, place.reason))
    arguments = place.arguments(story, good_files(story)[kind], tmp_path / "output")
    if expected[0] == 0:
        # That the same command accepts what belongs there shows that nothing else was refused above.
        if name != "issue -m":  # It would name the model twice.
            shutil.copytree(story.vendor, tmp_path / "vendor")
            here(*(tmp_path / "vendor" if argument == story.vendor else argument for argument in arguments)).done()
        return
    with unchanged(story.folder), unchanged(tmp_path):
        here(*arguments, "--json").refused(*expected)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("missing", "file_not_found"),
        ("folder", "not_a_file"),
        ("pipe", "not_a_file"),
        ("device", "not_a_file"),
        ("link to itself", "file_unreadable"),
        ("in a file", "file_unreadable"),
        ("long name", "file_unreadable"),
    ],
)
@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_file_is_refused(name: str, what: str, reason: str, story: Story, tmp_path: Path) -> None:
    paths = {
        "device": Path("/dev/zero"),
        "in a file": story.license / "acme.lic",
        "long name": tmp_path / ("n" * 256),
    }
    path = paths.get(what, tmp_path / what)
    if what == "folder":
        (path / "empty").mkdir(parents=True)
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "link to itself":
        path.symlink_to(path)
    expected = (1, reason)
    if what == "folder" and name.startswith("encrypt"):  # Models can be directories, but not this one.
        expected = (4, "model_source_invalid" if name == "encrypt --type" else "model_type_mismatch")
    elif name == "issue -m" and reason != "not_a_file":  # What is no file could be a model id, and is none.
        expected = (2, "usage")
    elif name.endswith("--trust") and what == "missing":
        expected = (3, "trust_missing")
    with unchanged(story.folder), unchanged(tmp_path):
        here(*PLACES[name].arguments(story, path, tmp_path / "output"), "--json").refused(*expected)


@pytest.mark.slow
@pytest.mark.parametrize("forbidden", ["file", "folder"])
@pytest.mark.parametrize("name", PLACES)
def test_file_that_may_not_be_read_is_refused(name: str, forbidden: str, story: Story, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = Path(shutil.copy(good_files(story)[PLACES[name].wants], folder))
    (file if forbidden == "file" else folder).chmod(0)
    arguments = PLACES[name].arguments(story, file, tmp_path / "output")
    expected = (2, "usage") if name == "issue -m" and forbidden == "folder" else (1, "file_unreadable")
    with unchanged(story.folder), unchanged(tmp_path):
        forked(*arguments, "--json", prefix=obeying_modes()).refused(*expected)


@pytest.mark.parametrize("signature", ["another device's", "changed"])
def test_request_that_its_own_key_did_not_sign_is_refused(
    signature: str, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a license could be made for a device key that its sender does not hold."""
    hardware = read_hardware()
    device_key = create_device_key(tmp_path / "customer", hardware.machine)
    own_sign, other_sign = device_key.sign, create_device_key(tmp_path / "other", hardware.machine).sign
    if signature == "changed":
        monkeypatch.setattr(device_key, "sign", lambda claims, typ: own_sign(claims, typ)[:-4] + "AAAA")
    else:
        monkeypatch.setattr(device_key, "sign", other_sign)
    request = tmp_path / "box.req"
    request.write_bytes(make_request(device_key, hardware, [], datetime.now(timezone.utc)))
    with unchanged(story.folder), unchanged(tmp_path):
        here(*story.issue(tmp_path / "x.lic", "--days", "3", request=request), "--json").refused(3, "signature_invalid")
        here("inspect", request, "--json").refused(3, "signature_invalid")
