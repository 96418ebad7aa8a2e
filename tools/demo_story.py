"""What the demo shows to work: the vendor locks a real model, the box asks, the vendor issues, the box runs it."""

import os
import shutil
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptors import load_model, lock_model, read_header
from cryptors.frameworks import import_framework
from licensing.device_key import create_device_key
from licensing.files import write_new_file
from licensing.issue import IssuedLicense
from licensing.local_time import local_text
from licensing.vendor_home import VendorHome
from tools.demo_box import Box, describe_box, measure_box
from tools.demo_model import build_minilm_onnx
from tools.demo_page import Page
from tools.demo_sentences import SENTENCES, compare_embeddings
from tools.output import size_text

__all__ = ["CUSTOMER", "Scene", "ask", "issue", "play_story"]

VENDOR, CUSTOMER = "Example Vision", "Acme Clinic"
VALIDITY_DAYS = 365


@dataclass(frozen=True)
class Scene:
    """What the story leaves behind, for the attempts that must fail.

    Attributes:
        directory: the temporary directory.
        vendor: the vendor's home.
        box: the licensed box, whose home holds the trust file too.
        locked: the locked model.
        license: the license file.
        expires: when the license ends.
    """

    directory: Path
    vendor: VendorHome
    box: Box
    locked: Path
    license: Path
    expires: datetime


def play_story(page: Page, directory: Path, model_folder: Path, inputs: dict[str, Any]) -> Scene:
    """Plays the story in a directory.

    Args:
        page: where to print.
        directory: an empty directory.
        model_folder: the trained weights, from `find_minilm`.
        inputs: the sentences, from `tokenize`.

    Raises:
        WeightlockError: whatever went wrong; nothing here should.
    """
    plaintext = directory / "minilm.onnx"
    _build_model(page, model_folder, plaintext)
    vendor, locked = _lock_model(page, directory, plaintext)
    box = measure_box(directory / "box")
    ask(page, directory, box)
    issued = issue(page, directory, vendor, box, locked)
    scene = Scene(directory, vendor, box, locked, directory / "acme.lic", issued.expires)
    _run(page, scene, plaintext, inputs)
    return scene


def _build_model(page: Page, model_folder: Path, plaintext: Path) -> None:
    page.step("The vendor has a trained model")
    page.say("all-MiniLM-L6-v2: a sentence encoder of 23 million parameters, as ONNX")
    began = time.perf_counter()
    build_minilm_onnx(model_folder, plaintext)
    page.say(f"minilm.onnx: {size_text(plaintext.stat().st_size)}, built from its weights in {_since(began)}")


def _lock_model(page: Page, directory: Path, plaintext: Path) -> tuple[VendorHome, Path]:
    page.step("The vendor locks it, once for all customers")
    page.command("weightlock vendor init", f'--name "{VENDOR}"', "--home vendor")
    vendor = VendorHome.create(directory / "vendor", VENDOR)
    page.command("weightlock encrypt minilm.onnx", "-o minilm.onnx.locked", "--home vendor")
    locked = directory / "minilm.onnx.locked"
    began = time.perf_counter()
    header = lock_model(vendor, plaintext, locked)
    page.say(f"{size_text(header.content_bytes)} encrypted in {_since(began)}; the content key stays with the vendor")
    return vendor, locked


def ask(page: Page, directory: Path, box: Box) -> None:
    """Writes the license request of a box, whose device key is new."""
    page.step("The customer's box asks for a license")
    page.command("weightlock request", *box.gpu_options, "-o box.request", "--home box")
    describe_box(page, box)
    began = time.perf_counter()
    device_key = create_device_key(box.home, box.hardware.machine)
    page.say(f"device key: RSA-3072, tier {device_key.tier}, made in {_since(began)}; it stays on this box")
    write_new_file(directory / "box.request", box.request(datetime.now(timezone.utc)))


def issue(page: Page, directory: Path, vendor: VendorHome, box: Box, locked: Path) -> IssuedLicense:
    """Issues the license that the box asked for."""
    page.step("The vendor issues a license")
    page.command(
        *("weightlock issue box.request", "-m minilm.onnx.locked", f'--customer "{CUSTOMER}"'),
        *(f"--days {VALIDITY_DAYS}", *([] if box.gpus else ["--allow-no-gpu"]), "--home vendor", "-o acme.lic"),
    )
    now = datetime.now(timezone.utc)
    issued = vendor.issue(
        (directory / "box.request").read_bytes(),
        [read_header(locked).model_id],
        customer=CUSTOMER,
        expires=now.replace(microsecond=0) + timedelta(days=VALIDITY_DAYS),
        allow_no_gpu=not box.gpus,
        now=now,
    )
    write_new_file(directory / "acme.lic", issued.data)
    page.say(f"acme.lic: {size_text(len(issued.data))}, good until {local_text(issued.expires)}")
    return issued


def _run(page: Page, scene: Scene, plaintext: Path, inputs: dict[str, Any]) -> None:
    page.step("The box runs the locked model, offline")
    page.command("cp vendor/trust.jwks box/")
    shutil.copyfile(scene.vendor.trust_path, scene.box.home / "trust.jwks")
    page.command(
        *("weightlock run minilm.onnx.locked", "--license acme.lic", "--home box"),
        *("--input sentences.npz", "--output embeddings.npz"),
    )
    page.say(f"sentences.npz: {len(SENTENCES)} sentences as token numbers; embeddings.npz: what comes out")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    onnxruntime = import_framework("onnxruntime", "onnx")
    began = time.perf_counter()
    session = onnxruntime.InferenceSession(plaintext, providers=["CPUExecutionProvider"])
    plaintext_seconds = _since(began)
    expected = session.run(["embeddings"], inputs)[0]
    del session
    began = time.perf_counter()
    hardware = scene.box.hardware if scene.box.problem else None  # None: it is measured by those who need it.
    session = load_model(scene.locked, scene.license, home=scene.box.home, hardware=hardware)
    page.say(f"unlocked, decrypted and loaded in {_since(began)}; the plaintext model loads in {plaintext_seconds}")
    actual = session.run(["embeddings"], inputs)[0]
    page.say("similarities of the sentences; above the diagonal plaintext, below it locked:")
    compare_embeddings(page, expected, actual)


def _since(began: float) -> str:
    return f"{time.perf_counter() - began:.1f} s"
