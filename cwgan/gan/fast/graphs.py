"""Replaying a training step as a CUDA graph.

At the sizes of this GAN a GPU spends more time on being told what to do than on doing it. A graph records the
kernels of a step once and launches them together. Shapes and addresses must stay: rows are copied into place.
"""

from collections.abc import Callable

import torch
from jaxtyping import Int64
from torch import Tensor

EAGER_CALLS = 3  # before recording: PyTorch wants a few on a side stream, for what is allocated once


class StepGraph:
    """A step, from row indices to terms, that runs as it is a few times and is then recorded and replayed.

    It consists of tensor operations of fixed shapes, and reads no value back. Replays draw anew from `rng`.
    """

    def __init__(self, step: Callable[[Tensor], dict[str, Tensor]], rng: torch.Generator) -> None:
        self._step, self._calls = step, 0
        self._graph, self._stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        self._graph.register_generator_state(rng)

    def __call__(self, rows: Int64[Tensor, "steps batch"]) -> dict[str, Tensor]:
        """Take the step on some rows; the terms returned are overwritten by the next call."""
        self._calls += 1
        if self._calls <= EAGER_CALLS:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                terms = self._step(rows)
            torch.cuda.current_stream().wait_stream(self._stream)
            return terms
        if self._calls == EAGER_CALLS + 1:
            self._rows = rows.clone()
            with torch.cuda.graph(self._graph):
                self._terms = self._step(self._rows)
        self._rows.copy_(rows)
        self._graph.replay()
        return self._terms
