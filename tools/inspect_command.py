"""What a file says without any key: `weightlock inspect`."""

from pathlib import Path
from typing import Annotated, Any

from cryptors.errors import ModelMalformedError
from cryptors.signature import Signature
from licensing.errors import MalformedError
from licensing.local_time import local_text
from tools.inspect_enrolment import describe_enrolment, request_facts
from tools.options import (
    AllowPickle,
    Architecture,
    CustomerHome,
    Device,
    Json,
    Trust,
    check_device_name,
    path_argument,
    path_option,
)
from tools.output import print_facts, print_table, progress_bar, size_text

__all__ = ["inspect"]


def inspect(
    file: Annotated[Path, path_argument("A locked model, a license, a license request, a challenge or a trust file.")],
    license: Annotated[
        Path | None,
        path_option("--license", help="A license for the locked model: shows what inputs it wants as well."),
    ] = None,
    trust: Trust = None,
    home: CustomerHome = None,
    device: Device = "cpu",
    architecture: Architecture = None,
    allow_pickle: AllowPickle = False,
    as_json: Json = False,
) -> None:
    """Show what a locked model, license, request or trust file says, without any key.

    With --license, the model is decrypted in memory and loaded, and its inputs and outputs are shown.
    """
    kind, facts, rows, note = _describe(file)
    signature = None
    if license is not None:
        from cryptors import CryptorFactory, read_header

        cryptor = CryptorFactory.instance(read_header(file).model_type)
        options = cryptor.run_options(check_device_name(device), architecture, allow_pickle)
        with progress_bar("decrypting") as progress:
            loaded = cryptor.load(file, license=license, trust=trust, home=home, progress=progress, **options)
        signature = cryptor.signature(loaded)
        facts, note = {**facts, **_signature_facts(signature)}, "the model was decrypted and loaded in memory"

    def sentence() -> None:
        print(f"{kind}: {file}")
        print_table(rows)
        if signature is not None:
            print_table(_signature_rows(signature))
        print(note)

    print_facts({"kind": kind, **facts, "note": note}, as_json, sentence)


def _signature_facts(signature: Signature) -> dict[str, Any]:
    return {
        kind: [{"name": spec.name, "dtype": spec.dtype, "shape": spec.shape} for spec in specs]
        for kind, specs in (("inputs", signature.inputs), ("outputs", signature.outputs))
    }


def _signature_rows(signature: Signature) -> list[tuple[str, str]]:
    return [
        (kind, " ".join(filter(None, [spec.name, spec.dtype, _shape_text(spec.shape)])))
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs))
        for spec in specs
    ]


def _shape_text(shape: tuple[int | str | None, ...] | None) -> str:
    if shape is None:
        return ""
    return " x ".join("?" if size is None else str(size) for size in shape) or "scalar"


def _describe(file: Path) -> tuple[str, dict[str, Any], list[tuple[str, str]], str]:
    from cryptors.header import is_locked_model
    from licensing.files import read_bounded
    from licensing.license import MAX_LICENSE_BYTES
    from licensing.strict_json import parse_object

    beginning = read_bounded(file, "file", 64)
    if is_locked_model(beginning):
        return _locked_model(file)
    data = read_bounded(file, "file", MAX_LICENSE_BYTES)
    try:
        members = parse_object(data, "file", MalformedError, MAX_LICENSE_BYTES)
    except MalformedError:
        members = {}
    if "license" in members or "grants" in members:
        return _license(data)
    if "request" in members:
        return _request(data)
    if "tpm_request" in members or "tpm_challenge" in members or "tpm_response" in members:
        return describe_enrolment(data, members)
    if "keys" in members:
        return _trust(data)
    raise ModelMalformedError(
        f"the file {str(file)!r} is not a locked model, a license, a license request or a trust file",
        reason="file_unknown",
    )


def _locked_model(file: Path) -> tuple[str, dict[str, Any], list[tuple[str, str]], str]:
    from cryptors import read_header

    header = read_header(file)
    facts = {
        "model_id": header.model_id,
        "name": header.name,
        "type": header.model_type,
        "key_id": header.key_id,
        "content_bytes": header.content_bytes,
        "files": header.files,
        "created": header.created,
        "generator": header.generator,
        "parent": header.parent and {"model_id": header.parent.model_id, "key_id": header.parent.key_id},
    }
    rows = [
        ("name", header.name),
        ("type", header.model_type),
        ("size", f"{size_text(header.content_bytes)} in {header.files} file{'' if header.files == 1 else 's'}"),
        ("model id", header.model_id),
        ("key id", header.key_id),
        ("created", f"{header.created} by {header.generator}"),
        *([("made from", header.parent.model_id)] if header.parent else []),
    ]
    return "locked model", facts, rows, "without the content key, none of this is verified"


def _license(data: bytes) -> tuple[str, dict[str, Any], list[tuple[str, str]], str]:
    from licensing.license import LicenseFile, read_claims

    file = LicenseFile.parse(data)
    claims = read_claims(file)
    facts = {
        "license_id": claims.license_id,
        "vendor": claims.vendor,
        "vendor_key": file.signed.kid,
        "customer": claims.customer,
        "device": claims.device_thumbprint,
        "tier": claims.tier,
        "issued": claims.issued.isoformat(),
        "not_before": claims.not_before.isoformat(),
        "expires": claims.expires.isoformat(),
        "slots": [{"id": slot.slot_id, "machine": slot.machine_label, "gpu": slot.gpu_label} for slot in claims.slots],
        "models": [{"model_id": model.model_id, "key_id": model.key_id, "name": model.name} for model in claims.models],
        "features": list(claims.features),
    }
    rows = [
        ("vendor", claims.vendor),
        ("customer", claims.customer),
        ("from", local_text(claims.not_before)),
        ("until", local_text(claims.expires)),
        *(("slot", slot.label) for slot in claims.slots),
        *(("model", f"{model.name} ({model.model_id})") for model in claims.models),
        *(("feature", name) for name in claims.features),
        ("tier", claims.tier),
        ("device", claims.device_thumbprint),
        ("license id", claims.license_id),
    ]
    return "license", facts, rows, "the signature was not checked: 'weightlock status' does that"


def _request(data: bytes) -> tuple[str, dict[str, Any], list[tuple[str, str]], str]:
    from licensing.request import read_request

    facts, rows = request_facts(read_request(data))
    return "license request", facts, rows, "it is signed by the device key that it carries"


def _trust(data: bytes) -> tuple[str, dict[str, Any], list[tuple[str, str]], str]:
    from licensing.jwk import algorithm_of
    from licensing.trust import TrustedKeys

    keys = [{"kid": kid, "algorithm": algorithm_of(key)} for kid, key in TrustedKeys.parse(data).keys.items()]
    rows = [("key", f"{key['kid']} ({key['algorithm']})") for key in keys]
    return "trust file", {"keys": keys}, rows, "licenses signed by these keys are accepted where this file is trusted"
