"""A whole run of the bench: for each size the models, the rounds, and what came of them."""

import importlib.util
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cryptors.detect import detect_type
from cryptors.errors import FrameworkMissingError, ModelTypeError
from cryptors.factory import CryptorFactory
from cryptors.reader import read_header
from cryptors.source import scan_source
from licensing.errors import UsageError, WeightlockError
from licensing.files import storage_error
from tools.bench.candidate import Candidate, Results
from tools.bench.candidates import PEER_LABELS, load_candidates, peer_candidates, start_candidates
from tools.bench.loads import MODULES
from tools.bench.machine import machine_facts
from tools.bench.makers import MAKERS, TINY_ROWS
from tools.bench.peers import PEER_MODULES
from tools.bench.process import Worker, WorkerError
from tools.bench.room import check_disk, check_memory, peer_obstacle, temporary_folder
from tools.bench.rounds import Step, measure_all, step_count
from tools.bench.scene import RANDOM_TYPE, TINY_ONNX, ModelFiles, Scene
from tools.bench.settings import MIB, Settings
from tools.bench.start import license_for
from tools.own_state import own_state

__all__ = ["choose_types", "run_bench"]

TINY_BYTES = 4 * MIB

Begin = Callable[[int], AbstractContextManager[Step]]
"""Begins a row of so many steps, and gives what is called before each of them."""


def choose_types(model: Path | None, named: str | None) -> tuple[tuple[str, ...], bool]:
    """Returns the types to measure, and whether they were named.

    Args:
        model: the user's model, or None for random ones.
        named: what the user named, such as "torch,onnx".

    Raises:
        ModelTypeError: there is no such type, or none that can be made; or the model's cannot be told.
        FrameworkMissingError: what a named type needs is not installed.
    """
    possible = (
        tuple(MODULES) if model is not None else tuple(kind for kind in MODULES if kind in (*MAKERS, RANDOM_TYPE))
    )
    if named is None and model is None:
        usual = [kind for kind in possible if kind != "torchscript"]  # Deprecated: for those who name it.
        return tuple(kind for kind in usual if _missing(kind) is None), False
    if model is not None:
        _check_not_locked(model)
    types = [kind.strip() for kind in named.split(",")] if named is not None else [_detected(model)]
    for kind in types:
        if kind not in possible:
            raise ModelTypeError(
                f"models of type {kind[:30]!r} cannot be measured" + (" without a model" if kind in MODULES else ""),
                f"the types are {', '.join(possible)}",
                reason="model_type_unknown",
            )
        if (missing := _missing(kind)) is not None:
            raise FrameworkMissingError(
                f"measuring the type {kind!r} needs {missing}, which is not installed",
                f"install it with: pip install 'weightlock[{CryptorFactory.instance(kind).extra}]'",
            )
    return tuple(dict.fromkeys(types)), True


def _check_not_locked(model: Path) -> None:
    try:
        read_header(model)
    except WeightlockError:
        return
    raise UsageError(f"the model {str(model)!r} is locked already", "measuring needs the plaintext")


def _missing(kind: str) -> str | None:
    return next((module for module in MODULES[kind] if importlib.util.find_spec(module) is None), None)


def _detected(model: Path | None) -> str:
    assert model is not None
    detected = detect_type(model)
    if detected is None:
        raise ModelTypeError(f"the type of the model {str(model)!r} cannot be told", "name it with --types")
    return detected.value


def run_bench(settings: Settings, begin: Begin) -> dict[str, Any]:
    """Measures, and returns the machine's facts and the results of each size.

    Raises:
        WeightlockError: there is no room, or what was asked for cannot be measured.
    """
    sizes = _sizes(settings)
    for size in sizes:
        check_memory(settings, size)
    with temporary_folder() as folder, own_state(folder):
        planned = [_Run(settings, folder / str(number), size, begin) for number, size in enumerate(sizes)]
        for run in planned:
            check_disk(settings, run.peers, folder, run.size)
        facts = machine_facts(folder)
        try:
            runs = [run.measure(first=run is planned[0]) for run in planned]
        except OSError as cause:
            raise storage_error(folder, cause) from cause
    return {"machine": facts, "runs": runs}


def _sizes(settings: Settings) -> tuple[int, ...]:
    if settings.model is None:
        return settings.sizes
    return (sum(file.stat().st_size for file in scan_source(settings.model).values()),)


class _Run:
    """The measurements with models of one size.

    Attributes:
        size: of the models, in bytes.
        peers: those that can be measured.
    """

    def __init__(self, settings: Settings, folder: Path, size: int, begin: Begin) -> None:
        self.size = size
        self._settings = settings
        self._folder = folder
        self._begin = begin
        self._left_out: list[tuple[str, str]] = []
        self.peers = self._choose_peers()

    def measure(self, first: bool) -> Results:
        """Measures everything; what does not depend on the size, only where this is the first one."""
        settings, random = self._settings, self._settings.model is None
        self._folder.mkdir()
        scene = Scene(self._folder, settings.threads)
        with self._begin(2 * len(settings.types) + len(self.peers) + 1) as step:
            models = self._models(scene, step)
            candidates = load_candidates(settings, scene, models, self._tiny(models, step) if random else {})
            candidates += self._peer_files(scene, models, step)
            if first and random and "onnx" in settings.types:
                step("making a license")
                candidates += self._starts(scene)
        with self._begin(step_count(candidates, settings.repeat)) as step:
            measurements = measure_all(candidates, settings.repeat, self._folder, step, self._leave_out)
        shutil.rmtree(self._folder)  # The next size may need the room.
        return Results(self.size, settings.threads, measurements, self._left_out)

    def _models(self, scene: Scene, step: Step) -> list[ModelFiles]:
        model, models = self._settings.model, []
        for kind in self._settings.types:
            step(f"making a model: {kind}" if model is None else "encrypting the model")
            try:
                models.append(scene.make(kind, self.size) if model is None else scene.take(kind, model))
            except WeightlockError as error:
                if self._settings.types_named:
                    raise
                scene.forget(kind)
                self._leave_out(kind, error)
        if not models:  # No framework at all: AES, decrypting and encrypting can be measured nevertheless.
            models.append(scene.make(RANDOM_TYPE, self.size))
        return models

    def _tiny(self, models: list[ModelFiles], step: Step) -> dict[str, dict[str, dict[str, Any]]]:
        folder = self._folder / "tiny"
        folder.mkdir()
        scene, jobs = Scene(folder, self._settings.threads), {}
        for model in models:
            step(f"making a tiny model: {model.kind}")
            tiny = scene.make(model.kind, TINY_BYTES)
            jobs[model.kind] = {side: scene.job(side, tiny) for side in ("plain", "locked")}
        return jobs

    def _choose_peers(self) -> list[str]:
        found = []
        for peer, module in PEER_MODULES.items() if self._settings.peers else ():
            missing = "it is not installed" if importlib.util.find_spec(module) is None else None
            if why := missing or peer_obstacle(self._settings, peer, self.size):
                self._left_out.append((PEER_LABELS[peer], why))
            else:
                found.append(peer)
        return found

    def _peer_files(self, scene: Scene, models: list[ModelFiles], step: Step) -> list[Candidate]:
        found = []
        for peer in self.peers:
            step(f"making a file: {PEER_LABELS[peer]}")
            # Files as a whole of PyTorch; tensors, from either type.
            kinds = ("torch",) if peer in ("fernet", "one_shot") else ("torch", "safetensors")
            model = next((each for each in models if each.kind in kinds), None)
            if model is None:
                self._left_out.append((PEER_LABELS[peer], f"it is measured with {' or '.join(kinds)}"))
                continue
            making, loading = peer_candidates(self._settings, scene, model, peer)
            try:
                with Worker(making, self._settings.threads, self._folder) as worker:
                    worker.run(self._settings.threads)
            except WorkerError as error:
                self._leave_out(loading.label, error)
            else:
                found.append(loading)
        return found

    def _starts(self, scene: Scene) -> list[Candidate]:
        try:
            model = scene.make(TINY_ONNX, self.size)
        except WeightlockError as error:
            self._leave_out("start", error)
            return []
        box = license_for(self._folder, model.model_id, scene.content_key)
        box |= {"path": str(model.path), "locked": str(model.locked), "width": TINY_ROWS}
        return start_candidates(self._settings, box)

    def _leave_out(self, label: str, error: WeightlockError) -> None:
        self._left_out.append((label, error.message))
