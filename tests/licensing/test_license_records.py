"""Licenses, customers and devices in the registry, through the vendor's home."""

import sqlite3
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from licensing.errors import GpuRequiredError, RegistryError, RequestMalformedError, UsageError
from licensing.vendor_home import VendorHome
from tests.licensing.vendors import NOW, Box, add_model, issue, make_box, unlocked


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("customer"), "a" * 32)


@pytest.fixture(scope="module")
def other_box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("other-customer"), "b" * 32)


@pytest.fixture
def home(tmp_path: Path) -> VendorHome:
    return VendorHome.create(tmp_path / "vendor", "Löwe AI")


def test_records_say_what_was_issued(home: VendorHome, box: Box) -> None:
    (one, _), (two, _) = add_model(home, "one"), add_model(home, "two")
    issued = issue(home, box.request, two, one, not_before=NOW + timedelta(days=1), features=["batch"])
    (record,) = home.licenses()
    assert (record.license_id, record.customer, record.status) == (issued.license_id, "Acme", "issued")
    assert record.models == ("two", "one")
    assert (record.issued, record.not_before, record.expires) == (
        NOW,
        NOW + timedelta(days=1),
        NOW + timedelta(days=30),
    )
    assert record.slots == (f"NVIDIA H200 (GPU-0f5a7c52…) in {record.machine_label}",)
    assert home.license_file(issued.license_id) == issued.data
    assert home.request_file(issued.license_id) == box.request


def test_licenses_are_listed_by_the_time_of_issue(home: VendorHome, box: Box, other_box: Box) -> None:
    model_id, _ = add_model(home)
    late = issue(home, box.request, model_id, now=NOW + timedelta(days=2))
    early = issue(home, other_box.request, model_id, customer="Zenith", now=NOW)
    same_time = issue(home, box.request, model_id, now=NOW + timedelta(days=2))
    ids = [record.license_id for record in home.licenses()]
    assert ids == [early.license_id, late.license_id, same_time.license_id]


def test_a_machine_alone_is_licensed_only_where_the_vendor_says_so(home: VendorHome, box: Box, tmp_path: Path) -> None:
    model_id, content_key = add_model(home)
    with pytest.raises(GpuRequiredError):
        issue(home, box.request_without_gpu, model_id)
    issued = issue(home, box.request_without_gpu, model_id, allow_no_gpu=True)
    assert unlocked(home, box, issued.data, model_id, content_key, tmp_path) == content_key
    assert home.licenses()[0].slots == (home.licenses()[0].machine_label,)


def test_a_device_can_change_hands_and_its_earlier_licenses_keep_their_customer(home: VendorHome, box: Box) -> None:
    model_id, _ = add_model(home)
    issue(home, box.request, model_id, now=NOW)
    issue(home, box.request, model_id, customer="Zenith", now=NOW + timedelta(days=1))
    issue(home, box.request, model_id, now=NOW + timedelta(days=2))
    assert [record.customer for record in home.licenses()] == ["Acme", "Zenith", "Acme"]


@pytest.mark.parametrize("wrong", ["00000000-0000-4000-8000-000000000000", "", "\udcff"])
def test_an_unknown_license_is_refused(home: VendorHome, wrong: str) -> None:
    for attempt in (home.license_file, home.request_file):
        with pytest.raises(RegistryError) as refusal:
            attempt(wrong)
        assert refusal.value.reason == "unknown_license"


@pytest.mark.parametrize(
    "terms",
    [
        {"customer": ""},
        {"customer": "A" * 201},
        {"customer": "Acme\nInc"},
        {"expires": NOW},
        {"not_before": NOW + timedelta(days=60)},
        {"features": [""]},
        {"expires": datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))},
    ],
    ids=str,
)
def test_terms_that_no_customer_could_use_are_refused(home: VendorHome, box: Box, terms: dict[str, Any]) -> None:
    model_id, _ = add_model(home)
    with pytest.raises(UsageError):
        issue(home, box.request, model_id, **terms)
    assert home.licenses() == []


def test_a_refused_request_leaves_no_trace(home: VendorHome, box: Box, tmp_path: Path) -> None:
    model_id, _ = add_model(home)
    for request in (b"", b"{}", box.request[:-10], box.request.replace(b'"request"', b'"license"')):
        with pytest.raises(RequestMalformedError):
            issue(home, request, model_id)
    connection = sqlite3.connect(tmp_path / "vendor" / "registry.db")
    assert connection.execute("SELECT count(*) FROM customers").fetchone() == (0,)
    connection.close()
