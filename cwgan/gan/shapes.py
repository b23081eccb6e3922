"""Names for shapes of tensors, used in signatures; tests check them in every call."""

from collections.abc import Iterator

from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

Scalar = Float[Tensor, ""]

# One row per sample of a batch.
Features = Float[Tensor, "batch features"]
Attributes = Float[Tensor, "batch attributes"]
Noise = Float[Tensor, "batch noise"]
Hidden = Float[Tensor, "batch hidden"]
Scores = Float[Tensor, " batch"]
Logits = Float[Tensor, "batch classes"]
Labels = Int64[Tensor, " batch"]
Targets = Shaped[Tensor, "batch ..."]
Mix = Float[Tensor, "batch mixed"]

# One row per class.
ClassAttributes = Float[Tensor, "classes attributes"]
ClassMeans = Float32[Tensor, "classes features"]

# All rows of a data set; some of them, by number; rows that are made, some at a time.
AllFeatures = Float[Tensor, "all features"]
AllTargets = Shaped[Tensor, "all ..."]
Rows = Int64[Tensor, " chosen"]
RowLabels = Int64[Tensor, " rows"]
Chunks = Iterator[Float32[Tensor, "chunk features"]]
