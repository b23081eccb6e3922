"""The few ways in which work ends early."""


class InputError(ValueError):
    """Something a user handed in cannot be used.

    Args:
        where: the file, or the section of the configuration, that holds the mistake.
        field: the key, parameter or split within it.
        got: what was found there.
        allowed: what would have been accepted.
    """

    def __init__(self, where: object, field: str, got: object, allowed: str) -> None:
        super().__init__(f"{where}: {field}: found {got}; allowed: {allowed}")


class StoreError(OSError):
    """MLflow's store, or the database of a search, cannot be reached, or refuses what it is given."""


class Stopped(Exception):  # noqa: N818  (it is no error)
    """A setting of a search is given up before its last epoch, as others promise more."""
