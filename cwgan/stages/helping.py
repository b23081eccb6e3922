"""A GAN's training on several processes: the part of all but the first."""

from cwgan import ranks
from cwgan.gan.checkpoint import check_same_classes, check_same_split
from cwgan.gan.training import take_steps
from cwgan.stages.job import Job, load_data
from cwgan.stages.train import begin_gan, take_seen_rows


def help_train() -> None:
    """Take part in every GAN's training that the first process begins, until it has ended its work.

    InputError: the data set here is another one. ConnectionError: another process is gone.
    """
    while told := ranks.hear():
        config, source = told
        dataset = load_data(config)
        check_same_classes(source.path, source.facts["data"], dataset)
        check_same_split(source.path, source.facts["data"], dataset)
        job = Job(config, dataset, source.path.parent, lambda *_: None)
        gan = begin_gan(job, source)
        for _ in take_steps(gan, take_seen_rows(job).to(gan.rng.device)):
            pass
