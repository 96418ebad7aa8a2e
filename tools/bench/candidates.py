"""Which candidates a run has, from its models and settings."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from tools.bench.candidate import Candidate
from tools.bench.loads import LAZY, PLAIN
from tools.bench.room import COPIES, OTHER_COPIES, PEER_COPIES
from tools.bench.scene import ModelFiles, Scene
from tools.bench.settings import MIB, Settings

__all__ = ["PEER_LABELS", "load_candidates", "peer_candidates", "start_candidates"]

PEER_LABELS = {
    "cryptotensors": "cryptotensors",
    "tensorizer": "tensorizer",
    "one_shot": "one-shot AES-GCM",
    "fernet": "Fernet, whole file",
}


def load_candidates(
    settings: Settings, scene: Scene, models: list[ModelFiles], tiny: dict[str, dict[str, dict[str, Any]]]
) -> list[Candidate]:
    """Returns what is measured on the models themselves.

    Args:
        settings: of the run.
        scene: where the models are.
        models: at least one.
        tiny: for types of which there is a tiny model, the jobs "plain" and "locked" on it.
    """
    first = models[0]
    limit_bytes = max(MIB, first.size // MIB * MIB)
    found = [
        Candidate("limit", "AES-256-GCM limit", {"job": "limit", "bytes": limit_bytes}, limit_bytes, settings.threads),
        Candidate(
            "decrypt",
            "decrypt, touched memory",
            scene.job("decrypt", first),
            first.size,
            settings.threads,
            (first.locked,),
        ),
    ]
    for model in models:
        found += _of_type(settings, scene, model, tiny.get(model.kind, {}))
    found += _encrypting(settings, scene, first)
    with_threads = [each for each in found if each.name in ("limit", "decrypt") or each.name.endswith(".locked")]
    for threads in settings.more_threads:
        found += [
            dataclasses.replace(
                each, label=f"{each.label}, {threads} thr.", threads=threads, warms_up=False, watched=False
            )
            for each in with_threads
            if not each.cold
        ]
    return found


def _of_type(
    settings: Settings, scene: Scene, model: ModelFiles, tiny: dict[str, dict[str, Any]]
) -> Iterator[Candidate]:
    kind, threads = model.kind, settings.threads
    sides = {"plain": model.files, "locked": (model.locked,)}
    for side, files in sides.items():
        if side == "plain" and kind not in PLAIN:
            continue
        job, label = scene.job(side, model), f"{kind}, {side}"
        one = Candidate(
            f"{kind}.{side}",
            label,
            job,
            model.size,
            threads,
            files,
            copies=COPIES.get(kind, OTHER_COPIES),
            watched=True,
            primed_by=tiny.get(side),
            optional=not settings.types_named,
        )
        yield one
        if settings.cold:
            yield dataclasses.replace(one, label=f"{label}, cold", cold=True, warms_up=False, watched=False)
    if model.tensor is not None and kind in LAZY:
        for side, files in sides.items():
            job = scene.job(f"{side}_lazy", model, tensor=model.tensor)
            yield Candidate(f"{kind}.{side}.lazy", f"{kind}, {side}, lazily", job, 0, threads, files, optional=True)


def _encrypting(settings: Settings, scene: Scene, model: ModelFiles) -> list[Candidate]:
    folder, threads = scene.folder, settings.threads
    job = scene.job("encrypt", model, output=str(folder / "encrypted.tmp"))
    # Of a user's model no plaintext copy is made: its ciphertext is as long, and `cp` does not look at the content.
    original = model.path if len(model.files) == 1 and not model.given else model.locked
    copy = {"job": "copy", "path": str(original), "output": str(folder / "copied.tmp")}
    return [
        Candidate("copy", "cp, then fsync", copy, original.stat().st_size, threads, (original,)),
        Candidate("encrypt", "encrypt, with fsync", job, model.size, threads, model.files),
    ]


def peer_candidates(settings: Settings, scene: Scene, model: ModelFiles, peer: str) -> tuple[dict[str, Any], Candidate]:
    """Returns the job that makes a peer's file from a model, and the candidate that loads it."""
    output = scene.folder / f"{peer}.peer"
    making = scene.job(f"make_{peer}", model, output=str(output))
    job = scene.job(peer, model, output=str(output))
    loading = Candidate(
        f"peer.{peer}",
        PEER_LABELS[peer],
        job,
        model.size,
        settings.threads,
        (output,),
        copies=PEER_COPIES[peer],
        watched=True,
        optional=True,
    )
    return making, loading


def start_candidates(settings: Settings, box: dict[str, Any]) -> list[Candidate]:
    """Returns what is measured of an application's start; `box` is what those jobs take."""
    labels = {
        "start_plain": "start, plain",
        "start_locked": "start, locked",
        "unlock": "unlock",
        "probe": "measure the hardware",
    }
    return [
        Candidate(name.replace("_", "."), label, {"job": name, **box}, 0, settings.threads, optional=True)
        for name, label in labels.items()
        if name != "probe" or not box["stand_in"]
    ]
