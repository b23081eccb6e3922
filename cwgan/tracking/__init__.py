"""The one wall to MLflow: runs, what they keep, and references between them."""

from cwgan.tracking.opening import adopt, end_lost, name_made_run, note_error, note_refusal, run
from cwgan.tracking.record import Run
from cwgan.tracking.references import find_active, find_begun, find_file, find_name, list_family, resolve
from cwgan.tracking.store import STORE_ERRORS, local_folder, session, store_uri

__all__ = [
    "STORE_ERRORS", "Run", "adopt", "end_lost", "find_active", "find_begun", "find_file", "find_name",
    "list_family", "local_folder", "name_made_run", "note_error", "note_refusal", "resolve", "run", "session",
    "store_uri",
]  # fmt: skip
