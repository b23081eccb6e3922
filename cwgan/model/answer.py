"""The model that answers: rows of features in, class names out. MLflow stores this file and runs it.

It imports nothing of cwgan and no PyTorch, so that a server needs only the four packages below, and all that
it knows is in one safetensors file, which `cwgan.stages.answers` writes; nothing is pickled. A model whose
features were made of images answers from images in base64, too, by `backbone.py`, which it carries.

A row x, in the units of the user's files, is scaled as the training rows were. Its logits, less the bias
gamma where the class is seen, give the probabilities by softmax; of equal ones the unseen class comes first.

A row is far from everything known if its length is outside that of training rows (their 0.1 % and 99.9 %
quantiles, with a margin of 1 %), or if it points less towards any class mean than 99 % of training rows do:
the largest cosine, after subtracting the mean of all training rows, is below their 1 % quantile. The class
means are those of training rows for seen classes and of synthetic rows for unseen ones.
"""

import base64
import json
from importlib import import_module
from io import BytesIO
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from safetensors import safe_open

CHUNK, BEST, LARGEST = 1024, 5, 1e30


class Answerer(PythonModel):
    """Names classes; the first of its classes are the unseen ones."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the artifact `weights`."""
        with safe_open(context.artifacts["weights"], framework="numpy") as file:
            self.facts = json.loads(file.metadata()["answers"])
            parts = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
        self.weight, self.bias = parts["weight"], parts["bias"]
        self.offset, self.divisor = parts["offset"], parts["divisor"]
        self.centre, self.directions = parts["centre"], parts["directions"]
        self.names = np.array(self.facts["class_names"], dtype=object)
        self.is_seen = np.arange(len(self.names)) >= self.facts["unseen"]
        self.backbone: Any = None

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return for each row: class, probability, kind (seen or unseen), far, and the next best classes.

        The columns class, class_2, ... class_5 are the five best, probability, probability_2, ... theirs.
        MlflowException, which a server answers with status 400, for another width, text, NaN or infinity, or
        a text that is no image in base64.
        """
        is_text = self.facts.get("backbone") and np.asarray(model_input).dtype.kind in "UO"
        rows = self._check(self._see(np.ravel(model_input)) if is_text else model_input)
        parts = [self._answer(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]
        return pd.concat(parts, ignore_index=True)

    def _see(self, texts: np.ndarray) -> np.ndarray:
        if self.backbone is None:
            try:
                self.backbone = import_module("backbone").Backbone.again(self.facts["backbone"])
            except (ImportError, ValueError) as error:
                raise _refuse(f"no backbone here ({error})", "rows of features alone") from None
        parts = []
        for number, text in enumerate(texts, start=1):
            try:
                image = base64.b64decode(str(text).rpartition("base64,")[2], validate=True)
                parts.append(self.backbone.embed(self.backbone.read(BytesIO(image))[None]))
            except ValueError as error:
                raise _refuse(f"text {number} ({error})", "images in base64") from None
        return np.concatenate(parts) if parts else texts

    def _check(self, given: np.ndarray) -> np.ndarray:
        try:
            rows = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            raise _refuse("something that is no number", "numbers") from None
        wanted = f"rows of {len(self.divisor)} features"
        if rows.ndim != 2 or rows.shape[1] != len(self.divisor) or len(rows) == 0:
            raise _refuse(f"shape {rows.shape}", wanted)
        if bad := np.flatnonzero(~(np.abs(rows) < LARGEST).all(axis=1)).tolist():
            raise _refuse(f"NaN, infinity or a value beyond 1e30 in row {bad[0] + 1}", "finite numbers")
        return rows

    def _answer(self, rows: np.ndarray) -> pd.DataFrame:
        scaled = (rows - self.offset) / self.divisor
        if self.facts["unit_norm"]:
            scaled = _to_unit_norm(scaled)
        logits = scaled @ self.weight.T + self.bias
        if self.facts["relu_logits"]:
            logits = np.maximum(logits, 0)
        scores = logits - self.facts["gamma"] * self.is_seen
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities = odds / odds.sum(axis=1, keepdims=True)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
        columns: dict[str, Any] = {}
        for place in range(best.shape[1]):
            suffix = f"_{place + 1}" if place else ""
            columns[f"class{suffix}"] = self.names[best[:, place]]
            columns[f"probability{suffix}"] = probabilities[np.arange(len(rows)), best[:, place]]
            if place == 0:
                columns["kind"] = np.where(self.is_seen[best[:, 0]], "seen", "unseen").astype(object)
                columns["far"] = self._is_far(scaled)
        return pd.DataFrame(columns)

    def _is_far(self, scaled: np.ndarray) -> np.ndarray:
        lengths, (shortest, longest) = np.linalg.norm(scaled, axis=1), self.facts["lengths"]
        nearest = (_to_unit_norm(scaled - self.centre) @ self.directions.T).max(axis=1)
        return (lengths < shortest) | (lengths > longest) | (nearest < self.facts["least_cosine"])


def _to_unit_norm(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def _refuse(found: str, allowed: str) -> MlflowException:
    return MlflowException(f"features: found {found}; allowed: {allowed}", INVALID_PARAMETER_VALUE)


mlflow.models.set_model(Answerer())
