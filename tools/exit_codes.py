"""What the process says when it ends: the exit code of each reason. docs/spec/license.md, section 16."""

from licensing.errors import WeightlockError

__all__ = ["exit_code"]

USAGE, REFUSED, MODEL, MISSING, OTHER = 2, 3, 4, 5, 1

_CODES = {
    USAGE: (
        *("usage", "output_exists", "output_is_input", "crypt_key_invalid"),
        *("model_type_unknown", "unknown_model", "unknown_license"),
    ),
    REFUSED: (
        *("license_malformed", "license_unsupported", "request_malformed", "trust_malformed", "trust_missing"),
        *("untrusted_vendor", "signature_invalid", "not_yet_valid", "expired", "revoked", "model_not_licensed"),
        *("machine_id_unavailable", "machine_mismatch", "gpu_mismatch", "gpu_unreadable", "gpu_required"),
        *("gpu_disagreement", "driver_untrusted", "vgpu_refused"),
        *("tpm_unavailable", "tpm_proof_required", "endorsement_missing", "endorsement_untrusted", "response_invalid"),
        *("challenge_malformed", "challenge_mismatch", "challenge_expired", "device_key_ambiguous"),
        *("device_key_missing", "device_key_mismatch", "grant_invalid"),
        *("clock_faked", "clock_rollback", "clock_state_missing", "clock_state_invalid", "clock_state_replayed"),
        *("clock_state_unwritable", "clock_reset_malformed", "clock_reset_used"),
        *("lockout_predicted", "start_history_invalid"),
    ),
    MODEL: (
        *("model_malformed", "model_damaged", "key_mismatch", "model_type_mismatch", "model_rejected"),
        *("model_source_invalid", "model_type_unsupported", "model_too_large", "unsafe_pickle"),
    ),
    MISSING: ("tpm_library_missing", "framework_missing", "framework_unsuitable", "framework_conflict"),
}

_CODE_OF = {reason: code for code, reasons in _CODES.items() for reason in reasons}


def exit_code(error: WeightlockError) -> int:
    """Returns the exit code of an error: 2 wrong usage, 3 refused, 4 model file, 5 missing component, 1 else."""
    return _CODE_OF.get(error.reason, OTHER)
