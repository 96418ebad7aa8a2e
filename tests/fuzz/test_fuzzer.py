"""The fuzzer finds what it is there to find: shown on parsers that are wrong on purpose."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from licensing.errors import MalformedError
from licensing.strict_json import canonical
from tests.fuzz.guided import fuzz
from tests.fuzz.session import Session
from tests.fuzz.target import MAX_MEMORY_BYTES, Target, WrittenOtherwise, try_input
from tests.fuzz.targets import TARGETS
from tests.fuzz.written import json_of, same_json, same_members

GOOD = b'{"name":"a","numbers":[1,2],"ver":1}'


def target_of(parse: Callable[[bytes], None]) -> Target:
    return Target("wrong", parse, (MalformedError,))


def session_of(parse: Callable[[bytes], None], folder: Path, inputs: int = 600) -> Session:
    return Session(target_of(parse), inputs, max_seconds=60, found=folder)


def forgets_types(data: bytes) -> None:
    json_of(data)["ver"] + 1


def forgets_members(data: bytes) -> None:
    len(json_of(data)["numbers"])


def forgets_long_lists(data: bytes) -> None:
    members = json_of(data)
    if len(members["numbers"] if isinstance(members.get("numbers"), list) else []) > 2:
        raise AssertionError


def writes_in_another_order(data: bytes) -> None:
    members = json_of(data)
    same_json(json.dumps(dict(reversed(members.items())), separators=(",", ":")).encode(), data)


def prints_what_it_got(data: bytes) -> None:
    name = json_of(data).get("name")
    if name != "a":
        raise MalformedError(f"the name is {name}")


@pytest.fixture(autouse=True)
def one_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.write_bytes(GOOD)
    monkeypatch.setattr(Target, "inputs", lambda target, kind: [seed] if kind == "seeds" else [])


@pytest.mark.parametrize(
    ("parse", "what"),
    [
        (forgets_types, "TypeError at "),
        (forgets_members, "KeyError at "),
        (forgets_long_lists, "AssertionError at "),
        (writes_in_another_order, "WrittenOtherwise at "),
        (prints_what_it_got, "MalformedError with a message that cannot be shown"),
    ],
)
def test_mistakes_are_found_and_kept(parse: Callable[[bytes], None], what: str, tmp_path: Path) -> None:
    session = session_of(parse, tmp_path)
    fuzz(session, seed=1)
    [found] = [each for each in session.findings if each.startswith(what)]
    kept = (tmp_path / "wrong" / session.findings[found].file_name).read_bytes()
    again = try_input(session.target, kept)
    assert again is not None
    assert again.what == found


def test_what_is_found_is_made_small(tmp_path: Path) -> None:
    session = session_of(forgets_members, tmp_path)
    fuzz(session, seed=1)
    [small] = [finding.data for finding in session.findings.values() if "KeyError" in finding.what]
    assert len(small) <= 8


def test_a_right_parser_has_no_findings(tmp_path: Path) -> None:
    session = session_of(lambda data: same_members(json_of(canonical(json_of(data))), json_of(data)), tmp_path, 300)
    fuzz(session, seed=1)
    assert (session.inputs, session.findings) == (300, {})


def test_the_same_seed_tries_the_same_inputs(tmp_path: Path) -> None:
    tried: list[list[bytes]] = [[], []]
    for inputs in tried:
        fuzz(session_of(inputs.append, tmp_path, 200), seed=7)
    assert tried[0] == tried[1]
    assert len(set(tried[0])) > 100


def test_much_memory_is_a_finding() -> None:
    def parse(data: bytes) -> None:
        bytearray(b"x") * (2 * MAX_MEMORY_BYTES)

    assert "MiB of memory" in str(try_input(target_of(parse), b""))


def test_much_time_is_a_finding() -> None:
    assert "takes longer" in str(try_input(target_of(lambda data: None), b"", max_seconds=-1))


@pytest.mark.parametrize("error", [MemoryError, RecursionError, WrittenOtherwise])
def test_some_errors_are_findings_even_where_any_error_refuses(error: type[Exception]) -> None:
    def parse(data: bytes) -> None:
        raise error

    assert try_input(Target("any", parse, (Exception,)), b"") is not None


@pytest.mark.parametrize("changed", [{"a": 1, "b": [1]}, {"a": 2}, {"b": {"c": 1}}, {"b": [{"c": 1}]}])
def test_members_that_were_changed_are_noticed(changed: dict[str, object]) -> None:
    read = {"a": 1, "b": [{"c": 2}], "unknown": 1}
    same_members({"a": 1, "b": [{"c": 2}]}, read)
    with pytest.raises(WrittenOtherwise):
        same_members(changed, read)


def test_every_target_has_another_name() -> None:
    assert all(name == target.name for name, target in TARGETS.items())
