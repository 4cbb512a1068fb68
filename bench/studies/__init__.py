"""One declaration a table of a paper: its rows, its columns, its published numbers."""

from bench.studies.patchvae import STUDY as PATCHVAE
from bench.studies.study import Column, Row, Study, Table

STUDIES: dict[str, Study] = {PATCHVAE.name: PATCHVAE}

__all__ = ["STUDIES", "Column", "Row", "Study", "Table"]
