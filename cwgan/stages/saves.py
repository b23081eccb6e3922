"""Which epochs the stages are told to keep: refused, before any training, where that cannot be done."""

from cwgan.config import SCORES, Config
from cwgan.errors import InputError
from cwgan.gan.savepoints import check_save_epochs

RANKED = [name for name in SCORES if name != "gamma"]  # a bias is neither good nor bad


def check_saves(config: Config) -> None:
    """Refuse to keep epochs that are not reached, or the best by what is not measured, or any of ESZSL."""
    check_save_epochs(config)
    saves = config.classifier.save
    if config.classifier.method == "eszsl" and (config.classifier.holdout or saves.epochs or saves.every):
        needed = "classifier.method=softmax: eszsl has no epochs"
        raise InputError("configuration", "classifier.holdout, classifier.save", "set", needed)
    every, start, scored = config.gan.save.every, config.gan.save.start, config.gan.score_every
    is_scored = config.protocol == "validation" and scored and every % scored == start % scored == 0
    allowed = {
        "monitor": ["val_loss", "val_accuracy"] if config.monitor.holdout else [],
        "regressor": ["val_loss"] if config.regressor.holdout else [],
        "gan": ["monitor_accuracy", *(f"val_{name}" for name in RANKED if is_scored)],
        "classifier": ["val_loss", "val_accuracy"] if config.classifier.holdout else [],
    }
    needed = "protocol=validation and save.every, save.start as multiples of gan.score_every"
    for stage, names in allowed.items():
        best_by = getattr(config, stage).save.best_by
        if best_by and best_by not in names:
            known = ", ".join(names) or f"nothing, as {stage}.holdout is 0"
            hint = f"; val_H and the like need {needed}" if stage == "gan" else ""
            raise InputError("configuration", f"{stage}.save.best_by", repr(best_by), known + hint)
