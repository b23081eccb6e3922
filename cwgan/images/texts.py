"""Texts become rows of numbers: by a model of sentence-transformers, or by an .onnx file without it."""

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from cwgan.errors import InputError, first_line

with suppress(ImportError):  # it repairs a torchvision that cannot be imported as it is
    import_module("cwgan.images.backbone")
try:
    import onnxruntime
    import transformers
    from sentence_transformers import SentenceTransformer
except ImportError as _error:
    raise InputError("environment", "package", f"no {_error.name}", "pip install -e .[text]") from None

ALLOWED = "a model of sentence-transformers by name or folder, or an .onnx file beside its tokenizer.json"


def embed_texts(texts: Sequence[str], encoder: str) -> np.ndarray:
    """Return a row for each text; InputError for an encoder that cannot be had."""
    try:
        if encoder.endswith(".onnx"):
            return _embed_by_onnx(texts, Path(encoder))
        rows: np.ndarray = SentenceTransformer(encoder).encode(list(texts), show_progress_bar=False)
    except Exception as error:  # the hub's clients and the libraries raise many kinds
        found = f"{encoder!r} ({first_line(error)})"
        raise InputError("configuration", "describe.encoder", found, ALLOWED) from None
    return rows


def _embed_by_onnx(texts: Sequence[str], path: Path) -> np.ndarray:
    """Return the model's one vector per text, or the mean over the tokens of its first output."""
    session = onnxruntime.InferenceSession(str(path))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(path.with_name("tokenizer.json")), pad_token="[PAD]"
    )
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=256, return_tensors="np")
    wanted = [given.name for given in session.get_inputs()]
    rows = session.run(None, {name: tokens[name].astype(np.int64) for name in wanted})[0]
    if rows.ndim == 3:
        mask = tokens["attention_mask"][:, :, None]
        rows = (rows * mask).sum(axis=1) / mask.sum(axis=1)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
