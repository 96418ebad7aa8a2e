"""Models and content keys in the registry, through the vendor's home."""

import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from licensing.content_key import new_content_key
from licensing.errors import ContentKeyInvalidError, RegistryError, UsageError, VendorHomeError
from licensing.vendor_home import VendorHome
from tests.licensing.vendors import NOW, Box, add_model, edit_registry, issue, make_box


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("customer"), "a" * 32)


@pytest.fixture
def home(tmp_path: Path) -> VendorHome:
    return VendorHome.create(tmp_path / "vendor", "Löwe AI")


def test_content_keys_come_back_after_the_home_is_opened_again(home: VendorHome, tmp_path: Path) -> None:
    keys = dict(add_model(home, name) for name in ("one", "two"))
    reopened = VendorHome.open(tmp_path / "vendor")
    assert {model.model_id: reopened.content_key(model.model_id) for model in reopened.models()} == keys


def test_a_content_key_pasted_onto_another_model_is_refused(home: VendorHome, box: Box, tmp_path: Path) -> None:
    (one, _), (two, _) = add_model(home, "one"), add_model(home, "two")
    paste = f"(SELECT sealed FROM content_keys WHERE model_id = '{one}') WHERE model_id = '{two}'"
    edit_registry(tmp_path / "vendor", f"UPDATE content_keys SET sealed = {paste}")
    with pytest.raises(VendorHomeError):
        home.content_key(two)
    with pytest.raises(VendorHomeError):
        issue(home, box.request, one, two)
    assert home.licenses() == []


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE content_keys SET key_id = '00000000000000000000000000000000'",
        "UPDATE content_keys SET sealed = x'00'",
        "UPDATE content_keys SET sealed = zeroblob(60)",
    ],
)
def test_an_edited_content_key_is_refused(home: VendorHome, edit: str, tmp_path: Path) -> None:
    model_id, _ = add_model(home)
    edit_registry(tmp_path / "vendor", edit)
    with pytest.raises(VendorHomeError):
        home.content_key(model_id)


def test_an_unknown_model_is_refused_and_so_is_the_beginning_of_an_id(home: VendorHome, box: Box) -> None:
    model_id, _ = add_model(home)
    for wrong in (str(uuid.uuid4()), model_id[:8], model_id.upper(), "", "%", "\udcff", model_id + "\n"):
        for attempt in (
            lambda wrong=wrong: issue(home, box.request, model_id, wrong),
            lambda wrong=wrong: home.content_key(wrong),
            lambda wrong=wrong: home.model(wrong),
            lambda wrong=wrong: home.remove_model(wrong),
        ):
            with pytest.raises(RegistryError) as refusal:
                attempt()
            assert refusal.value.reason == "unknown_model"
            assert refusal.value.hints
    assert home.licenses() == []


def test_a_model_that_no_license_names_can_be_removed(home: VendorHome, box: Box) -> None:
    (kept, _), (removed, _) = add_model(home, "kept"), add_model(home, "removed")
    issue(home, box.request, kept)
    home.remove_model(removed)
    with pytest.raises(RegistryError) as refusal:
        home.remove_model(kept)
    assert refusal.value.reason == "model_licensed"
    assert [model.name for model in home.models()] == ["kept"]
    with pytest.raises(RegistryError):
        home.content_key(removed)


def test_a_model_and_a_content_key_are_added_once(home: VendorHome) -> None:
    model_id, content_key = add_model(home)
    for again, key, reason in (
        (model_id, new_content_key(), "model_exists"),
        (str(uuid.uuid4()), content_key, "content_key_exists"),
    ):
        with pytest.raises(RegistryError) as refusal:
            home.add_model(again, "again", "torch", key, 1, NOW)
        assert refusal.value.reason == reason
    assert home.content_key(model_id) == content_key


def test_a_model_that_no_license_could_name_is_refused(home: VendorHome) -> None:
    good: dict[str, Any] = {"model_id": str(uuid.uuid4()), "name": "n", "model_type": "torch"}
    for bad in ({"model_id": "resnet18"}, {"name": ""}, {"name": "a\tb"}, {"name": "a" * 201}, {"model_type": ""}):
        with pytest.raises(UsageError):
            home.add_model(**{**good, **bad}, content_key=new_content_key(), content_bytes=1, created=NOW)
    with pytest.raises(ContentKeyInvalidError):
        home.add_model(**good, content_key=b"short", content_bytes=1, created=NOW)
    assert home.models() == []


def test_models_are_listed_with_the_oldest_first(home: VendorHome) -> None:
    for day in (3, 1, 2):
        add_model(home, f"day {day}", NOW + timedelta(days=day))
    assert [model.name for model in home.models()] == ["day 1", "day 2", "day 3"]
    assert home.model(home.models()[0].model_id) == home.models()[0]
