"""The parameters of the road from photographs and words to a data set."""

from dataclasses import dataclass

from cwgan.options import Section, option


@dataclass(frozen=True)
class ExtractConfig(Section, section="extract."):
    """The features of images."""

    backbone: str = option(
        "resnet101", "model of timm whose pooled features are taken, with its preprocessing"
    )
    weights: str = option("", "file of its weights, .pth or .safetensors; empty: from timm's hub")
    image_size: int = option(0, "images are brought to this size; 0: the model's own", unit="px", at_least=0)
    batch_size: int = option(32, "images per step", unit="images", at_least=1)
    workers: int = option(2, "processes that read images; 0: none but the main one", at_least=0)


@dataclass(frozen=True)
class DescribeConfig(Section, section="describe."):
    """The attributes of classes, and which images train, validate and test."""

    encoder: str = option(
        "sentence-transformers/all-MiniLM-L6-v2",
        "embeds texts: a model of sentence-transformers by name or folder, or an .onnx file",
    )
    test: float = option(0.2, "share of each seen class's images that is held out", at_least=0, below=1)
    validation: float = option(0.2, "share of the seen classes that validate", at_least=0, below=1)
    seed: int = option(0, "seed of the splits", at_least=0, at_most=2**63 - 1)
