import torch

from cwgan.gan.networks import Generator
from cwgan.gan.snapshots import Snapshots, synthesize_from
from cwgan.gan.synthesis import synthesize


def constant(value: float) -> Generator:
    """Return a generator whose every feature is one number."""
    generator = Generator(2, 2, 3, 4, 0.2, torch.Generator())
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


def test_snapshots_are_copies_of_which_the_oldest_leaves() -> None:
    snapshots, generator = Snapshots(3), constant(0)
    for value in (1.0, 2.0, 3.0):
        torch.nn.init.constant_(generator.output_bias, value)
        snapshots.add(generator)
    assert [earlier.output_bias[0].item() for earlier in snapshots.earlier] == [2, 3]
    assert set(snapshots.tensors()) == {
        f"snapshot{place}.{name}" for place in (0, 1) for name in generator.state_dict()
    }
    none = Snapshots(1)
    none.add(generator)
    assert none.tensors() == {}
