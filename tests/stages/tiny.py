"""What tests of the stages share: a road at tiny size."""

from collections.abc import Mapping

from cwgan.config import ClassifierConfig, Config, GenerateConfig
from cwgan.gan_config import GanConfig, MonitorConfig, RegressorConfig

TINY = Config(
    monitor=MonitorConfig(epochs=1),
    regressor=RegressorConfig(epochs=1),
    gan=GanConfig(epochs=1, hidden_size=8),
    generate=GenerateConfig(counts=[4]),
    classifier=ClassifierConfig(epochs=2, lr=0.01),
)


def ignore(metrics: Mapping[str, float], epoch: int) -> None:
    """Stand where nobody listens to the curves."""
