"""The features of an image: the pooled output of a timm model, after the model's own preprocessing.

This file imports nothing of cwgan: a model in MLflow that answers from images carries it along.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Its compiled operators are for another build of PyTorch, such as the one for GPUs. timm needs none of
    # them, but torchvision stops where these two are not even declared.
    for _name in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
import timm
from timm.data import create_transform, resolve_model_data_config
from timm.models import load_state_dict


class BackboneError(ValueError):
    """A model or its weights cannot be had: the parameter, what was found, and what is allowed."""


class Unreadable(ValueError):  # noqa: N818  (one image, which is passed over)
    """A file is no image, or a damaged one."""


class Backbone:
    """A timm model without its head; `facts` say what made the features, and make the same model again.

    Args:
        name: of timm's models, as resnet101.
        weights: a file; empty for those of timm's hub, which are downloaded once.
        image_size: side of the square that the model sees, in pixels; 0 for the model's own.
        device: where it computes.

    Raises:
        BackboneError: no such model, no such weights, or weights of another model.
    """

    def __init__(
        self, name: str, weights: str = "", image_size: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        if not timm.is_model(name):
            near = [*timm.list_models(f"{name}*"), *timm.list_models(f"*{name[:6]}*")]
            known = ", ".join(near[:5]) or "resnet101, convnext_tiny"
            raise BackboneError("backbone", repr(name), f"a model of timm {timm.__version__}, as {known}")
        config = timm.get_pretrained_cfg(name)
        size: dict[str, Any] = (
            {"img_size": image_size} if image_size and config and config.fixed_input_size else {}
        )
        try:
            model = timm.create_model(name, pretrained=not weights, num_classes=0, **size)
        except Exception as error:  # the hub's clients raise many kinds
            found = f"weights of {name} that cannot be downloaded ({_say(error)})"
            raise BackboneError(
                "weights", found, "a connection to timm's hub, or a file of weights"
            ) from None
        if weights:
            _load(model, Path(weights), name)
        tag = getattr(config, "tag", None)
        wanted = {"input_size": (3, image_size, image_size)} if image_size else None
        preprocessing = resolve_model_data_config(model, args=wanted)
        self.transform: Any = create_transform(**preprocessing)
        self.input_size: tuple[int, int, int] = tuple(preprocessing["input_size"])
        self.model, self.device = model.eval().requires_grad_(False).to(device), device
        self.facts: dict[str, Any] = {
            "backbone": f"{name.partition('.')[0]}.{tag}" if tag else name,
            "weights": str(Path(weights).resolve()) if weights else "",
            "weights_sha256": _digest(model),
            "image_size": image_size,
            "preprocessing": {key: str(value) for key, value in preprocessing.items()},
            "timm": timm.__version__,
        }

    @classmethod
    def again(
        cls, facts: Mapping[str, Any], weights: str = "", device: torch.device | str = "cpu"
    ) -> "Backbone":
        """Return the backbone that has these facts; BackboneError if weights or preprocessing differ now."""
        made = cls(facts["backbone"], weights or facts["weights"], facts["image_size"], device)
        for key, word in (("weights_sha256", "weights"), ("preprocessing", "preprocessing")):
            if made.facts[key] != facts[key]:
                allowed = f"those of the features that the model learnt from: {facts[key]}"
                raise BackboneError(word, f"{made.facts[key]}", allowed)
        return made

    def read(self, file: Path | BinaryIO) -> torch.Tensor:
        """Return an image as the model sees it, turned as its camera says; Unreadable if it is none."""
        try:
            with Image.open(file) as image:
                pixels: torch.Tensor = self.transform(_to_rgb(ImageOps.exif_transpose(image)))
        except Exception as error:  # Pillow raises many kinds for a damaged file
            raise Unreadable(_say(error)) from None
        return pixels

    @torch.inference_mode()
    def embed(self, images: torch.Tensor) -> np.ndarray:
        """Return a row of float32 features for each image."""
        rows: np.ndarray = self.model(images.to(self.device)).float().cpu().numpy()
        return rows


def _load(model: torch.nn.Module, path: Path, name: str) -> None:
    """Load weights by name, or by order where another code base named the same tensors otherwise.

    By order every tensor must have the shape and the last part of the name of its counterpart. What a file
    has beyond the model is the head, which is left out.
    """
    try:
        path.open("rb").close()
        given = load_state_dict(str(path))
    except Exception as error:  # torch and safetensors raise many kinds for a damaged file
        # Without PyTorch's own advice, which is for other programs.
        reason = _say(error) if isinstance(error, OSError) else type(error).__name__
        found = f"{path} ({reason})"
        raise BackboneError("weights", found, "a file of weights, .pth or .safetensors") from None
    wanted = model.state_dict()
    if not wanted.keys() <= given.keys() and len(wanted) <= len(given):
        given = dict(zip(wanted, given.items(), strict=False))
        given = {key: value for key, (old, value) in given.items() if _last(old) == _last(key)}
    if not all(key in given and given[key].shape == value.shape for key, value in wanted.items()):
        raise BackboneError("weights", f"{path}, of another model", f"weights of {name}")
    model.load_state_dict({key: given[key] for key in wanted})


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return an image of 8 bits a colour, whose brightness Pillow would cut off if it had more bits."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"numbers of 32 bits (mode {image.mode}), where 8 or 16 can be read")
    return image.convert("RGB")


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason').splitlines()[0]}"


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _digest(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
