"""Compare representation learners: pretrain, freeze, probe, report."""

__version__ = "0.1.0"
