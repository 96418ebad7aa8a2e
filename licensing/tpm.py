"""A connection to a TPM 2.0, through tpm2-pytss: the few commands that a device key needs, and typed errors.

docs/spec/license.md, section 18.2. The TPM is always named: nothing is guessed, so that no other TPM than the one meant
is ever asked. Each use opens a connection of its own, one thread after the other, and flushes what it loaded: a TPM
without a resource manager has room for three objects, and two threads at once would fill it up.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from typing import Any

from licensing.clock_witnesses import TpmClock
from licensing.errors import (
    ChallengeError,
    DeviceKeyMismatchError,
    TpmUnavailableError,
    UsageError,
)
from licensing.tpm_credential import Credential
from licensing.tpm_library import tpm2_pytss
from licensing.tpm_structures import STORAGE_KEY_TEMPLATE, sized

__all__ = ["TCTI_PATTERN", "TCTI_VARIABLE", "Tpm", "check_tcti", "open_tpm"]

TCTI_VARIABLE = "WEIGHTLOCK_TCTI"

TCTI_PATTERN = "(device|swtpm|mssim|tabrmd)(:.{0,200})?"
"""The TSS loads the library that the first word names, so no word but these is handed on to it."""

_TPM_LAYERS = (0, 12)
"""The layers of a return code that speak for the TPM itself: directly, or through a resource manager (TSS 2.0 Overview
and Common Structures, section 3.2). The others speak of the way to it."""

_PARAMETER_ERROR = 0x080
"""Set in the TPM's errors about a handle, session or parameter (TPM 2.0 Library, part 2, section 6.6), and not in those
about its state, such as a lockout."""


_FAILURE = 0x101
"""TPM_RC_FAILURE: what libtpms answers where RSAES-OAEP refuses. A TPM that has really failed answers it to the first
command already, and not only to this one."""


def check_tcti(tcti: str) -> str:
    """Returns the name of a TPM, or refuses it.

    Raises:
        UsageError: it is none that this program hands on to the TSS.
    """
    if not tcti.isprintable() or re.fullmatch(TCTI_PATTERN, tcti) is None:
        raise UsageError(
            f"{tcti[:60]!r} does not name a TPM", "write device:/dev/tpmrm0, or swtpm:path=SOCKET for a software TPM"
        )
    return tcti


@contextlib.contextmanager
def open_tpm(tcti: str) -> Iterator["Tpm"]:
    """Gives a connection to a TPM.

    Args:
        tcti: which TPM, such as "device:/dev/tpmrm0" or "swtpm:path=/run/swtpm/socket".

    Raises:
        TpmLibraryMissingError: tpm2-pytss is not installed.
        TpmUnavailableError: the TPM cannot be reached, or refuses what it is asked.
        UsageError: `tcti` names no TPM.
    """
    library = tpm2_pytss()
    try:
        with _one_at_a_time, library.ESAPI(check_tcti(tcti)) as context:
            tpm = Tpm(library, context)
            try:
                yield tpm
            finally:
                tpm.flush()
    except library.TSS2_Exception as cause:
        raise TpmUnavailableError(f"the TPM {tcti!r} cannot be used: {_words(cause)}") from cause


class Tpm:
    """An open connection. Handles are the TSS's numbers for what is loaded; all are flushed at the end."""

    def __init__(self, library: Any, context: Any) -> None:
        self._library = library
        self._context = context
        self._loaded: list[Any] = []

    def storage_key(self) -> Any:
        """Returns a handle of the storage root key, which the TPM derives anew each time from its own seed."""
        return self._primary(self._library.ESYS_TR.OWNER, self._public(STORAGE_KEY_TEMPLATE))[0]

    def create(self, parent: Any, template: bytes) -> tuple[bytes, bytes]:
        """Makes a key; returns its public area and its private half, which only this TPM can load."""
        sensitive = self._library.TPM2B_SENSITIVE_CREATE()
        private, public, *_ = self._context.create(parent, sensitive, self._public(template))
        return public.publicArea.marshal(), bytes(private)

    def load(self, parent: Any, public_area: bytes, private: bytes) -> Any:
        """Loads a key that `create` made.

        Raises:
            DeviceKeyMismatchError: another TPM made it, or it was changed.
        """
        with self._answered("the device key was made in another TPM, or its file was changed", DeviceKeyMismatchError):
            loaded = self._context.load(parent, self._library.TPM2B_PRIVATE(private), self._public(public_area))
        self._loaded.append(loaded)
        return loaded

    def decrypt(self, key: Any, ciphertext: bytes) -> bytes:
        """Decrypts with RSAES-OAEP, by the scheme that the key carries, with an empty label.

        Raises:
            DeviceKeyMismatchError: it was encrypted to another key.
        """
        types = self._library
        with self._answered("the license was issued for another device key", DeviceKeyMismatchError):
            plaintext = self._context.rsa_decrypt(
                key, types.TPM2B_PUBLIC_KEY_RSA(ciphertext), types.TPMT_RSA_DECRYPT(scheme=types.TPM2_ALG.NULL)
            )
        return bytes(plaintext)

    def endorsement_key(self, kind: str) -> tuple[Any, bytes, bytes | None]:
        """Makes an endorsement key by the TCG EK Credential Profile.

        Args:
            kind: "EK-RSA2048" or "EK-ECC256".

        Returns:
            A handle, the key's public half as PEM, and what the TPM holds as its certificate, in DER.
        """
        from tpm2_pytss.utils import NVReadEK, create_ek_template

        certificate, template = create_ek_template(kind, NVReadEK(self._context))
        key, public = self._primary(self._library.ESYS_TR.ENDORSEMENT, template)
        return key, bytes(public.to_pem()), certificate

    def nv_contents(self, low: int, high: int) -> list[bytes]:
        """Returns what the TPM holds at the NV indices of a range, in their order, as far as anybody may read it."""
        from tpm2_pytss.utils import NVReadEK

        read, types = NVReadEK(self._context), self._library
        _, listed = self._context.get_capability(types.TPM2_CAP.HANDLES, low, 256)
        contents = []
        for index in map(int, listed.data.handles):
            if low <= index <= high:
                with contextlib.suppress(types.TSS2_Exception):
                    contents.append(read(index))
        return contents

    def activate(self, key: Any, endorsement_key: Any, credential: Credential) -> bytes:
        """Opens a credential that was made for a loaded key in this TPM.

        Raises:
            ChallengeError: it was made for another TPM, or for another key.
        """
        types, context = self._library, self._context
        session = context.start_auth_session(
            types.ESYS_TR.NONE,
            types.ESYS_TR.NONE,
            types.TPM2_SE.POLICY,
            types.TPMT_SYM_DEF(algorithm=types.TPM2_ALG.NULL),
            types.TPM2_ALG.SHA256,
        )
        self._loaded.append(session)
        # The policy of endorsement keys: whoever may use the endorsement hierarchy may use them.
        context.policy_secret(types.ESYS_TR.ENDORSEMENT, session, b"", b"", b"", 0)
        try:
            with self._answered("the challenge was made for another TPM, or for another device key", ChallengeError):
                secret = context.activate_credential(
                    key,
                    endorsement_key,
                    types.TPM2B_ID_OBJECT(credential.identity),
                    types.TPM2B_ENCRYPTED_SECRET(credential.encrypted_seed),
                    session2=session,
                )
        finally:
            self.forget(session)
        return bytes(secret)

    def clock(self) -> TpmClock:
        """Reads the TPM's clock (TPM2_ReadClock)."""
        info = self._context.read_clock().clockInfo
        return TpmClock(int(info.clock), int(info.resetCount), int(info.restartCount), bool(info.safe))

    def flush(self) -> None:
        """Removes everything that was loaded; a connection that broke has nothing left to flush."""
        while self._loaded:
            with contextlib.suppress(self._library.TSS2_Exception):
                self._context.flush_context(self._loaded.pop())

    def forget(self, handle: Any) -> None:
        """Removes one thing: a TPM without a resource manager may have room for three."""
        self._context.flush_context(handle)
        self._loaded.remove(handle)

    def _primary(self, hierarchy: Any, template: Any) -> tuple[Any, Any]:
        sensitive = self._library.TPM2B_SENSITIVE_CREATE()
        handle, public, *_ = self._context.create_primary(sensitive, template, hierarchy)
        self._loaded.append(handle)
        return handle, public

    def _public(self, public_area: bytes) -> Any:
        return self._library.TPM2B_PUBLIC.unmarshal(sized(public_area))[0]

    @contextlib.contextmanager
    def _answered(self, refusal: str, error: type[DeviceKeyMismatchError] | type[ChallengeError]) -> Iterator[None]:
        """Tells a TPM that refuses what it was given from one that cannot be used."""
        try:
            yield
        except self._library.TSS2_Exception as cause:
            code = int(cause.rc)
            if code >> 16 in _TPM_LAYERS and (code & _PARAMETER_ERROR or code & 0xFFFF == _FAILURE):
                raise error(refusal) from cause
            raise


_one_at_a_time = threading.RLock()


def _forget_other_threads() -> None:
    """Gives a child process a lock of its own: the thread that held the parent's does not run in it."""
    global _one_at_a_time
    _one_at_a_time = threading.RLock()


os.register_at_fork(after_in_child=_forget_other_threads)


def _words(cause: Exception) -> str:
    text = " ".join(str(cause).split()).rstrip(".")
    return text[:1].lower() + text[1:]
