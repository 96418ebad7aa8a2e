"""What all cryptors share: keys, containers, errors. One subclass per framework does the rest."""

import contextlib
import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from cryptors.detect import check_type
from cryptors.devices import device_named
from cryptors.errors import ModelRejectedError, ModelTypeError
from cryptors.fernet_file import decrypt_fernet, is_fernet
from cryptors.frameworks import first_line, out_of_memory
from cryptors.header import Header
from cryptors.keys import KeySource
from cryptors.model_type import ModelType
from cryptors.parallel import Progress
from cryptors.reader import LockedModel
from cryptors.signature import Signature
from cryptors.source import ModelSource, scan_source
from cryptors.writer import EncryptOptions, write_locked_model
from licensing.content_key import content_key_base64, new_content_key, read_content_key
from licensing.errors import UsageError, WeightlockError
from licensing.files import check_output, write_new_file
from licensing.hardware import Hardware

__all__ = ["Cryptor"]

StrPath = str | os.PathLike[str]


class Cryptor(ABC):
    """Encrypts models of one type, and decrypts them into memory.

    Every failure raises a subclass of `CryptorError` or `licensing.LicensingError`; nothing returns None.
    """

    model_type: ClassVar[ModelType]
    extra: ClassVar[str]
    """The extra of this distribution that installs the framework."""
    default_device: ClassVar[str | None] = None
    """Where the framework computes if the caller names no device; None where that is no GPU, or its own choice."""

    def generate_crypt_key(self, file: StrPath) -> bytes:
        """Makes a content key and writes its 44-character form to a new file that only its owner can read.

        Returns:
            The 44 characters, as bytes: what `crypt_key` takes.
        """
        text = content_key_base64(new_content_key()).encode()
        write_new_file(file, text, mode=0o600)
        return text

    def encrypt(
        self, model: StrPath, crypt_key: bytes | StrPath, crypted_model: StrPath, options: EncryptOptions | None = None
    ) -> Header:
        """Encrypts a model file or directory.

        Args:
            model: the plaintext model. It is read, and never changed.
            crypt_key: 32 raw bytes, their 44-character URL-safe base64 form, or the path of a file with either.
            crypted_model: the locked model to write; by convention its name ends in ".locked".
            options: a name, a model id, replacing, threads, progress; see `EncryptOptions`.

        Returns:
            The header of the locked model.

        Raises:
            ModelTypeError: the model is not of this cryptor's type.
            ModelSourceError, FileAccessError: it cannot be read, or changes meanwhile.
            OutputExistsError, StorageError: the output cannot be written; nothing is left behind.
        """
        options = options or EncryptOptions()
        content_key = read_content_key(crypt_key)
        check_output(crypted_model, options.replace, model)
        source = self._source(Path(model))
        check_output(crypted_model, options.replace, *source.locations)
        if options.name is None:
            options = dataclasses.replace(options, name=Path(os.path.abspath(model)).name)
        return write_locked_model(source, self.model_type.value, content_key, crypted_model, options)

    def decrypt(
        self,
        model: StrPath,
        crypt_key: bytes | StrPath | None = None,
        *,
        license: StrPath | None = None,
        trust: StrPath | None = None,
        home: StrPath | None = None,
        hardware: Hardware | None = None,
        now: datetime | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
        **framework_options: Any,
    ) -> Any:
        """Decrypts a locked model into memory and returns it as the framework's object; see the subclass.

        Args:
            model: the locked model, or a file that the old toolkit wrote.
            crypt_key: the content key, on the vendor's side; see `encrypt`.
            license: the license file, on the customer's side; exactly one of the two is given.
            trust: the vendor's trust file; by default `trust.jwks` in the home.
            home: the customer's home; by default `WEIGHTLOCK_HOME` or a per-user directory.
            hardware: the box as measured; by default it is measured.
            now: the time; by default the system's clock.
            threads: how many threads decrypt; by default, one for each processor that the process may use.
            progress: called with the bytes done and the bytes in all.
            **framework_options: what the subclass's framework takes. Where they name a GPU, a license for a GPU must
                be for that one.

        Raises:
            LicensingError: the license does not unlock the model here.
            ModelDamagedError, ModelMalformedError: the file is not an intact locked model.
            ModelTypeError: it is a model of another type.
            ModelRejectedError: the framework does not accept the decrypted model.
            FrameworkMissingError: the framework is not installed.
            MemoryUnavailableError: there is not enough memory.
        """
        device = self._computing_device(framework_options, loading=False)
        keys = KeySource(crypt_key, license, trust, home, hardware, now, device)
        return self._open_and(self._decrypt, self._decrypt_bytes, model, keys, threads, progress, framework_options)

    def load(
        self,
        model: StrPath,
        crypt_key: bytes | StrPath | None = None,
        *,
        license: StrPath | None = None,
        trust: StrPath | None = None,
        home: StrPath | None = None,
        hardware: Hardware | None = None,
        now: datetime | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
        **framework_options: Any,
    ) -> Any:
        """Decrypts a locked model into memory and returns what runs it; arguments and errors as in `decrypt`."""
        device = self._computing_device(framework_options, loading=True)
        keys = KeySource(crypt_key, license, trust, home, hardware, now, device)
        return self._open_and(self._load, self._load_bytes, model, keys, threads, progress, framework_options)

    def infer(self, loaded: Any, inputs: dict[str, Any], device: str) -> dict[str, Any]:
        """Runs what `load` returned on named arrays and returns named arrays, as `weightlock run` does.

        Args:
            loaded: what `load` returned.
            inputs: NumPy arrays by name, as an `.npz` file holds them.
            device: "cpu" or "cuda:N".

        Raises:
            ModelTypeError: models of this type cannot run by themselves.
            UsageError: the inputs are not those that the model wants.
            ModelRejectedError: the framework failed.
        """
        raise ModelTypeError(f"models of type {self.model_type.value!r} cannot run by themselves")

    def signature(self, loaded: Any) -> Signature:
        """Returns the inputs and outputs of what `load` returned.

        Raises:
            ModelTypeError: models of this type do not say.
        """
        raise ModelTypeError(f"models of type {self.model_type.value!r} do not say which inputs they take")

    def run_options(self, device: str, architecture: str | None, allow_pickle: bool) -> dict[str, Any]:
        """Returns what `load` takes for these options of `weightlock run`; one that has no meaning here is refused.

        Args:
            device: "cpu" or "cuda:N".
            architecture: the code that builds a module for weights; see `TorchCryptor`.
            allow_pickle: whether pickles that can run code may be loaded.

        Raises:
            ModelTypeError: models of this type cannot run like this.
            UsageError: the option is not for this type.
            FrameworkMissingError: the framework does not find the device.
        """
        if architecture is not None:
            raise UsageError(
                f"models of type {self.model_type.value!r} bring their architecture with them",
                "leave --architecture out",
            )
        if allow_pickle:
            raise UsageError(f"models of type {self.model_type.value!r} are no pickles", "leave --allow-pickle out")
        return {"device": device}

    # The hooks of the subclasses take the open `LockedModel`, or the `bytes` of a whole plaintext file that the old
    # toolkit had encrypted, and behind it whatever options their framework has.

    @abstractmethod
    def _decrypt(self, *args: Any, **framework_options: Any) -> Any:
        """Returns the framework's object, read from an open locked model."""

    def _load(self, *args: Any, **framework_options: Any) -> Any:
        """Returns what runs; by default the same as `_decrypt`."""
        return self._decrypt(*args, **framework_options)

    @abstractmethod
    def _decrypt_bytes(self, *args: Any, **framework_options: Any) -> Any:
        """Returns the framework's object from a whole plaintext file."""

    def _load_bytes(self, *args: Any, **framework_options: Any) -> Any:
        """Returns what runs; by default the same as `_decrypt_bytes`."""
        return self._decrypt_bytes(*args, **framework_options)

    def _computing_device(self, framework_options: dict[str, Any], loading: bool) -> str | None:
        """Returns the device that the framework will compute on with these options; None where they do not say.

        Args:
            framework_options: of `decrypt` or `load`, as the caller gave them.
            loading: whether it is `load`.
        """
        return device_named(framework_options.get("device", self.default_device))

    def _source(self, model: Path) -> ModelSource:
        """Returns the files of a plaintext model; by default, the file or all files of the directory."""
        files = scan_source(model)
        check_type(model, self.model_type)
        return ModelSource(files, directory=os.path.isdir(model))

    def _open_and(
        self,
        finish: Callable[..., Any],
        finish_bytes: Callable[..., Any],
        model: StrPath,
        keys: KeySource,
        threads: int | None,
        progress: Progress | None,
        framework_options: dict[str, Any],
    ) -> Any:
        if is_fernet(model):
            if keys.crypt_key is None:
                raise UsageError("files of the old toolkit have no license: encrypt the model again")
            data = decrypt_fernet(model, read_content_key(keys.crypt_key))
            with framework_errors(self.model_type.value):
                return finish_bytes(data, **framework_options)
        with keys.open(model, threads, progress) as locked:
            if locked.header.model_type != self.model_type.value:
                raise ModelTypeError(
                    f"the locked model is of type {locked.header.model_type!r}, not {self.model_type.value!r}"
                )
            with framework_errors(self.model_type.value, locked):
                loaded = finish(locked, **framework_options)
            if locked.failure is not None:  # The framework went on with memory that was wiped.
                raise locked.failure
            if not locked.detached:
                locked.verify_rest()
            return loaded


@contextlib.contextmanager
def framework_errors(type_name: str, locked: LockedModel | None = None) -> Iterator[None]:
    """Converts whatever a framework raises; where our own reading was the reason, that error comes out."""
    try:
        yield
    except WeightlockError as error:
        if isinstance(error, ModelRejectedError) and (shortage := out_of_memory(error.__cause__)):
            raise shortage from error.__cause__
        raise
    except Exception as cause:
        if locked is not None and isinstance(locked.failure, WeightlockError):
            raise locked.failure from cause
        if shortage := out_of_memory(cause):
            raise shortage from cause
        if isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause):
            raise UsageError(f"the cryptor for {type_name!r} does not take this option: {cause}") from cause
        raise ModelRejectedError(
            f"the framework did not accept the decrypted model as {type_name!r}: {first_line(cause)}"
        ) from cause
