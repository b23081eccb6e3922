from pathlib import Path

import pytest
import torch

from cwgan.command_line import to_dict
from cwgan.config import Config
from cwgan.data.dataset import GzslDataset
from cwgan.gan.checkpoint import load_checkpoint, module_tensors, save_checkpoint
from cwgan.gan.networks import Generator
from cwgan.gan.snapshots import load_snapshots, snapshot_epochs, synthesize_from
from cwgan.gan.synthesis import synthesize
from cwgan.gan_config import GanConfig


def constant(value: float, attribute_size: int = 2, feature_size: int = 4) -> Generator:
    """Return a generator whose every feature is one number."""
    generator = Generator(attribute_size, 2, 3, feature_size, 0.2, torch.Generator())
    generator.load_state_dict(
        {name: torch.zeros_like(tensor) for name, tensor in generator.state_dict().items()}
    )
    torch.nn.init.constant_(generator.output_bias, value)
    return generator


def test_every_generator_makes_an_equal_part_of_every_class() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    order, chunks = synthesize_from([constant(1), constant(2)], torch.eye(2), labels, torch.Generator())
    made = torch.cat(list(chunks))[:, 0]
    assert sorted(zip(order.tolist(), made.tolist(), strict=True)) == [
        (0, 1),
        (0, 1),
        (0, 2),
        (0, 2),
        (1, 1),
        (1, 1),
        (1, 2),
        (1, 2),
    ]


def test_one_generator_makes_what_it_makes_alone(rng: torch.Generator) -> None:
    generator, labels = Generator(2, 2, 3, 4, 0.2, rng), torch.tensor([0, 1, 1])
    order, chunks = synthesize_from([generator], torch.eye(2), labels, torch.Generator().manual_seed(3))
    alone = torch.cat(list(synthesize(generator, torch.eye(2), labels, torch.Generator().manual_seed(3))))
    assert torch.equal(order, labels)
    assert torch.equal(torch.cat(list(chunks)), alone)


def test_fewer_rows_than_generators_are_made_by_the_first_ones() -> None:
    order, chunks = synthesize_from(
        [constant(1), constant(2), constant(3)], torch.eye(2), torch.tensor([0, 1]), torch.Generator()
    )
    assert order.tolist() == [0, 1]
    assert torch.cat(list(chunks))[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("snapshots", "every", "epoch", "epochs"),
    [
        (1, 1, 5, [5]),
        (3, 1, 1, [1]),
        (3, 1, 2, [1, 2]),
        (3, 1, 5, [3, 4, 5]),
        (3, 2, 5, [2, 4, 5]),
        (3, 2, 6, [2, 4, 6]),
        (9, 2, 7, [2, 4, 6, 7]),
        (2, 10, 9, [9]),
    ],
)
def test_rows_come_from_the_epoch_itself_and_the_newest_multiples_below_it(
    snapshots: int, every: int, epoch: int, epochs: list[int]
) -> None:
    assert snapshot_epochs(GanConfig(snapshots=snapshots, snapshot_every=every), epoch) == epochs


def test_a_checkpoint_gives_its_snapshots_oldest_first_and_the_newest_generator_last(
    tmp_path: Path, numbers: GzslDataset
) -> None:
    made = {"snapshot0": constant(1, 20, 128), "snapshot1": constant(2, 20, 128)}
    tensors = module_tensors(**made, generator=constant(3, 20, 128))
    save_checkpoint(tmp_path / "gan.safetensors", tensors, "gan", 3, to_dict(Config()), numbers)
    generators = load_snapshots(load_checkpoint(tmp_path / "gan.safetensors"))
    assert [generator.output_bias[0].item() for generator in generators] == [1, 2, 3]
