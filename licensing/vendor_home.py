"""The vendor's home: one directory with everything that issuing needs.

A license is recorded, with the bytes of its file, before anybody gets it: a vendor who is interrupted can have a
record whose file was never handed out, which `license_file` gives again, but never a license without a record.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

from licensing.clock_reset import make_clock_reset
from licensing.content_key import key_id, read_content_key
from licensing.encoding import from_epoch, to_epoch
from licensing.enrolment import MadeChallenge, is_response, make_challenge, read_response
from licensing.enrolment_files import TpmRequest
from licensing.errors import TpmProofRequiredError
from licensing.issue import IssuedLicense, Terms, issue_license
from licensing.jws import PrivateKey
from licensing.license_records import LicenseRecord, add_license, all_licenses, find_license
from licensing.master_key import SCRYPT_COST, MasterKey
from licensing.model_records import ModelRecord, add_model, all_models, find_model, open_model_key, remove_model
from licensing.policy import DEFAULT_POLICY, Policy
from licensing.registry import Registry
from licensing.request import LicenseRequest, read_request
from licensing.signing_key import SigningAlgorithm, open_signing_key
from licensing.slot_terms import DEFAULT_SLOTS, SlotTerms
from licensing.vendor_files import VendorFiles, VendorIdentity, check_name, create_vendor_files

__all__ = ["LicenseRecord", "ModelRecord", "VendorHome"]


class VendorHome:
    """A vendor's home that is open. `create` makes one, and `open` opens one that is there.

    The passphrase is asked for when a secret is first needed; listing models and licenses needs none. Several
    processes can work with one home at the same time.
    """

    def __init__(self, files: VendorFiles, passphrase: Callable[[], str] | None) -> None:
        self._files = files
        self._passphrase = passphrase
        self._identity = VendorIdentity.parse(files.read(files.vendor))
        self._registry = Registry.open(files.registry)

    def __repr__(self) -> str:
        return f"VendorHome(directory={str(self._files.directory)!r}, name={self.name!r})"

    @classmethod
    def create(
        cls,
        directory: Path,
        name: str,
        *,
        algorithm: SigningAlgorithm = "EdDSA",
        passphrase: str | None = None,
        scrypt_cost: int = SCRYPT_COST,
    ) -> "VendorHome":
        """Makes a vendor's home with a new signing key and an empty registry.

        Args:
            directory: where; it is made if it is missing, and must be empty if it is there.
            name: the vendor's name, as licenses show it: printable text of 1 to 200 characters.
            algorithm: what licenses are signed with; RSA keys (PS256) have 3072 bits.
            passphrase: protects the secrets at rest; without one, the permissions of the files alone do.
            scrypt_cost: how much work one guess at the passphrase is; less than the default is for tests.

        Raises:
            VendorHomeError: there is a home already, the directory is not empty, or another process is at it.
            UsageError: the name, the algorithm or the passphrase cannot be used.
            StorageError: the file system refused.
        """
        create_vendor_files(VendorFiles(directory), name, algorithm, passphrase, scrypt_cost)
        return cls.open(directory, None if passphrase is None else lambda: passphrase)

    @classmethod
    def open(cls, directory: Path, passphrase: Callable[[], str] | None = None) -> "VendorHome":
        """Opens a vendor's home.

        Args:
            directory: where it is.
            passphrase: asked once for the passphrase, and only when a secret of a home that has one is needed.

        Raises:
            VendorHomeError: there is none, its creation was interrupted, or it is damaged.
            RegistryError: its registry is damaged or too new.
        """
        return cls(VendorFiles(directory), passphrase)

    @property
    def name(self) -> str:
        """The vendor's name."""
        return self._identity.name

    @property
    def trust_path(self) -> Path:
        """The trust file, which customers get."""
        return self._files.trust

    def add_model(
        self, model_id: str, name: str, model_type: str, content_key: bytes, content_bytes: int, created: datetime
    ) -> ModelRecord:
        """Records a model and its content key; called before the model is encrypted, so that no key is ever lost.

        Args:
            model_id: a UUID, as the locked model's header has it.
            name: for people: printable text of 1 to 200 characters.
            model_type: the framework's name for what it is.
            content_key: 32 bytes, used for no other model.
            content_bytes: the length of the plaintext.
            created: the time.

        Raises:
            RegistryError: the model or its content key is known already.
            PassphraseError: the passphrase is needed and missing, or wrong.
            StorageError: the disk is full, or the file system refused.
        """
        check_name(name, "model's name")
        check_name(model_type, "model's type")
        key = read_content_key(content_key)
        record = ModelRecord(model_id, key_id(key), name, model_type, content_bytes, from_epoch(to_epoch(created)))
        master_key = self._master_key
        with self._registry.write() as session:
            add_model(session, record, key, master_key)
        return record

    def remove_model(self, model_id: str) -> None:
        """Removes a model and its content key: what was encrypted under it can never be decrypted again.

        Raises:
            RegistryError: there is no such model, or a license names it.
        """
        with self._registry.write() as session:
            remove_model(session, model_id)

    def model(self, model_id: str) -> ModelRecord:
        """Returns a model by its whole id.

        Raises:
            RegistryError: there is none.
        """
        with self._registry.read() as session:
            return ModelRecord.of(find_model(session, model_id))

    def models(self) -> list[ModelRecord]:
        """Returns every model, the oldest first."""
        with self._registry.read() as session:
            return [ModelRecord.of(row) for row in all_models(session)]

    def content_key(self, model_id: str) -> bytes:
        """Returns a model's content key.

        Raises:
            RegistryError: there is no such model.
            PassphraseError: the passphrase is needed and missing, or wrong.
            VendorHomeError: the stored key was changed, or is another model's.
        """
        master_key = self._master_key
        with self._registry.read() as session:
            return open_model_key(session, model_id, master_key).content_key

    def issue(
        self,
        request_data: bytes,
        model_ids: Sequence[str],
        *,
        customer: str,
        expires: datetime,
        now: datetime,
        not_before: datetime | None = None,
        allow_no_gpu: bool = False,
        features: Sequence[str] = (),
        policy: Policy = DEFAULT_POLICY,
        slots: SlotTerms = DEFAULT_SLOTS,
    ) -> IssuedLicense:
        """Issues a license and records it; the caller writes its file afterwards.

        Args:
            request_data: the license request file.
            model_ids: the models to license, by their whole ids.
            customer: the customer's name; a new one is recorded.
            now: the moment of issue.
            expires, not_before, allow_no_gpu, features, policy, slots: as in `licensing.issue.Terms`.

        Raises:
            RequestMalformedError, SignatureInvalidError: the request cannot be used.
            TpmProofRequiredError, ResponseInvalidError: it does not prove that its device key is in a TPM.
            RegistryError: a model is unknown, or the device belongs to another customer.
            GpuRequiredError, UsageError: the terms do not allow it, or contradict themselves.
            PassphraseError, VendorHomeError: the home's secrets do not open.
            StorageError: the disk is full, or the file system refused; nothing is recorded.
        """
        check_name(customer, "customer's name")
        for name in features:
            check_name(name, "name of a feature")
        request = self.verified_request(request_data, now)
        master_key = self._master_key
        with self._registry.read() as session:
            models = [open_model_key(session, model_id, master_key) for model_id in model_ids]
        terms = Terms(self.name, customer, expires, not_before, allow_no_gpu, tuple(features), policy, slots)
        issued = issue_license(request, models, terms, self._signing_key, now)
        with self._registry.write() as session:
            add_license(session, request, request_data, issued)
        return issued

    def challenge(self, request_data: bytes, bundle: bytes, now: datetime) -> MadeChallenge:
        """Makes a challenge to the TPM behind a request of the tier `tpm`; a license is issued to the response.

        Args:
            request_data: the license request file.
            bundle: PEM: the certificates of makers of TPMs that the vendor trusts.
            now: the time.

        Raises:
            RequestMalformedError: the request cannot be used, or its device key is not in a TPM.
            EndorsementError: the TPM is not one that the bundle vouches for.
            UsageError: the bundle cannot be read.
            PassphraseError, VendorHomeError: the home's secrets do not open.
        """
        from licensing.endorsement import read_bundle

        return make_challenge(request_data, read_bundle(bundle), self.name, self._master_key.seal, now)

    def reset_clock(self, request_data: bytes, *, now: datetime) -> bytes:
        """Returns a clock reset for the box that made a license request; the caller writes its file.

        Raises:
            RequestMalformedError, SignatureInvalidError, ResponseInvalidError: the request cannot be used.
            PassphraseError, VendorHomeError: the home's secrets do not open.
        """
        try:
            request = self.verified_request(request_data, None)
        except TpmProofRequiredError:  # A reset opens nothing, and is of use to the box with this device key alone.
            request = TpmRequest.parse(request_data).request
        return make_clock_reset(request.thumbprint, self.name, self._signing_key, now)

    def licenses(self) -> list[LicenseRecord]:
        """Returns every license, in the order in which they were issued."""
        with self._registry.read() as session:
            return [LicenseRecord.of(row) for row in all_licenses(session)]

    def license_file(self, license_id: str) -> bytes:
        """Returns a license's file again, byte for byte.

        Raises:
            RegistryError: there is no such license.
        """
        with self._registry.read() as session:
            return find_license(session, license_id).file

    def request_file(self, license_id: str) -> bytes:
        """Returns the request that a license answers, from which it can be renewed; errors as in `license_file`."""
        with self._registry.read() as session:
            return find_license(session, license_id).request

    def verified_request(self, data: bytes, now: datetime | None) -> LicenseRequest:
        """Returns what a signed request says, or what the response to a challenge proves, in time unless `now` is None.

        Raises:
            RequestMalformedError, SignatureInvalidError: the request cannot be used.
            TpmProofRequiredError, ResponseInvalidError: it does not prove that its device key is in a TPM.
        """
        if is_response(data):
            return read_response(data, self._master_key.open_sealed, now)
        return read_request(data)

    @cached_property
    def _master_key(self) -> MasterKey:
        # It is taken outside of transactions: nobody else could write while somebody types a passphrase.
        return MasterKey.parse(self._files.read(self._files.master_key), self._passphrase)

    @cached_property
    def _signing_key(self) -> PrivateKey:
        sealed = self._files.read(self._files.signing_key)
        return open_signing_key(sealed, self._identity.signing_key, self._master_key)
