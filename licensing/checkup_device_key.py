"""The check-up of the device key: whether it opens, who else can read it, and whether a TPM could keep it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from licensing.checkup_storage import existing_part
from licensing.device_key import DeviceKey, device_key_path, tpm_device_key_path
from licensing.errors import DeviceKeyMissingError, LicensingError
from licensing.findings import Finding
from licensing.surroundings import System

__all__ = ["check_device_key"]

SYNCED_NAMES = ("dropbox", "onedrive", "google drive", "googledrive", "nextcloud", "owncloud", "seafile", "icloud")
SYNC_MARKS = {
    ".stfolder": "Syncthing",
    ".dropbox.cache": "Dropbox",
    ".sync": "a program that synchronises it",
    ".git": "a Git repository",
}
_COPIES = "whoever has the file and this machine's ID has the device key, and can imitate this machine"


def check_device_key(
    system: System, home: Path, device_key: DeviceKey | LicensingError, user: int
) -> Iterator[Finding]:
    """Checks the device key of a home.

    Args:
        system: what this process runs in.
        home: the customer's home.
        device_key: as it was opened, or why it could not be.
        user: the user of this process, by number.
    """
    if isinstance(device_key, DeviceKeyMissingError):
        mend = "'weightlock request -o REQUEST' makes one; if there was one, name its home with --home"
        yield Finding("device key", "note", device_key.reason, f"there is no device key in {str(home)!r}", "", mend)
    elif isinstance(device_key, LicensingError):
        why = "no license that is bound to it unlocks"
        yield Finding(
            "device key", "problem", device_key.reason, device_key.message, why, "; or ".join(device_key.hints)
        )
    else:
        yield from _check_use(device_key)
    files = [path for path in (device_key_path(home), tpm_device_key_path(home)) if os.path.lexists(path)]
    for path in files:
        yield from _check_reach(path, user)
    if files:
        yield from _check_directory(home, user)
    yield from _check_synced(home)
    yield from _check_tpm(system, device_key)


def _check_use(device_key: DeviceKey) -> Iterator[Finding]:
    """Uses the key once, as every unlocking does: a key in a TPM is asked only then."""
    try:
        device_key.authentication_key("start-history")
    except LicensingError as error:
        why = "no license that is bound to it unlocks until the TPM answers"
        yield Finding("device key", "problem", error.reason, error.message, why, "; or ".join(error.hints))
    else:
        found = f"it opens on this machine, in the tier {device_key.tier!r}"
        yield Finding("device key", "ok", "device_key", found)


def _check_reach(path: Path, user: int) -> Iterator[Finding]:
    """Checks who can read the file of a device key.

    Access control lists of POSIX show themselves in the mode: its middle digit is the most that they allow (acl(5)).
    Those of NFS version 4 and of Windows file servers do not.
    """
    status = path.stat()
    if status.st_mode & 0o077:
        yield Finding(
            "device key",
            "warning",
            "device_key_readable",
            f"others than its owner have access to {str(path)!r} (mode {stat.S_IMODE(status.st_mode):04o})",
            _COPIES,
            f"chmod 600 {path}; if somebody may have copied it, ask for a license for a new one: "
            "'weightlock request --new-device-key'",
        )
    if status.st_uid != user and user != 0:
        yield Finding(
            "device key",
            "warning",
            "device_key_owner",
            f"{str(path)!r} belongs to the user {status.st_uid}, and this is the user {user}",
            f"its owner can read it: {_COPIES}",
            "give each user who runs models a home of their own, or run them as the owner",
        )


def _check_directory(home: Path, user: int) -> Iterator[Finding]:
    for place in (home, *home.absolute().parents):
        status = place.stat()
        writable = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if writable:
            yield Finding(
                "device key",
                "warning",
                "home_writable",
                f"others than its owner can change what is in {str(place)!r} (mode {stat.S_IMODE(status.st_mode):04o})",
                "they can remove the device key and the time state, and lock this machine out",
                f"chmod go-w {place}",
            )


def _check_synced(home: Path) -> Iterator[Finding]:
    """Looks for signs that the home is copied elsewhere; a backup or a snapshot leaves none."""
    place = existing_part(home)
    for directory in (place, *place.parents):
        by = next((name for mark, name in SYNC_MARKS.items() if (directory / mark).exists()), None)
        if by is None and any(directory.name.lower().startswith(name) for name in SYNCED_NAMES):
            by = directory.name
        if by is not None:
            yield Finding(
                "device key",
                "warning",
                "home_synced",
                f"the home is in a directory that seems to be copied elsewhere: {str(directory)!r} ({by})",
                f"{_COPIES}; and an older copy that comes back stops licenses as a replayed time state",
                "choose a home that stays on this machine: WEIGHTLOCK_HOME, or --home",
            )
            return


def _check_tpm(system: System, device_key: DeviceKey | LicensingError) -> Iterator[Finding]:
    versions = {name: system.text(f"/sys/class/tpm/{name}/tpm_version_major") for name in ("tpm0", "tpm1")}
    chip = next((name for name, version in versions.items() if version == "2"), None)
    in_software = not isinstance(device_key, LicensingError) and device_key.tier == "software"
    if chip is None:
        if in_software:
            found = "this machine shows no TPM 2.0, so that the device key is a file, which can be copied"
            mend = "where the firmware has one, switch it on; it takes a new request: 'weightlock request --tpm'"
            yield Finding("device key", "note", "tpm_none", found, _COPIES, mend)
        return
    device = f"/dev/tpmrm{chip[-1]}"
    node = system.place(device)
    reachable = os.access(node, os.R_OK | os.W_OK, effective_ids=True)
    if in_software:
        opening = "" if reachable else f", once this user may open {device} (often: usermod -aG tss)"
        yield Finding(
            "device key",
            "note",
            "tpm_unused",
            "the device key is a file, though this machine has a TPM 2.0",
            _COPIES,
            f"'weightlock request --new-device-key --tpm device:{device}'{opening}, and a new license",
        )
    elif not reachable and not isinstance(device_key, DeviceKeyMissingError):
        yield Finding(
            "device key",
            "problem",
            "tpm_forbidden",
            f"this user may not open {device}",
            "the device key is in the TPM, and no license that is bound to it unlocks",
            f"add the user to the group that 'ls -l' shows, often tss; in a container, start it with --device {device}",
        )
    else:
        yield Finding("device key", "ok", "tpm", f"there is a TPM 2.0 ({device})")
