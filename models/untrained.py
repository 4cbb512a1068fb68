"""The two controls: a backbone as initialised, probed frozen (`random`) or trained by the probe (`scratch`)."""

from models.configs import UntrainedConfig
from models.method import Method


class Untrained(Method[UntrainedConfig]):
    """No phase, so nothing is ever stepped."""
