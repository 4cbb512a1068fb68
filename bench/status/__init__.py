"""Where every cell stands: what the folders say, then what SLURM says. No torch; writes nothing."""

from bench.status.cells import Known, Survey, find_job, known_cells, survey
from bench.status.standing import STATES, UNDER_WAY, Handed, Standing, State
from bench.status.trace import Progress, Trace

__all__ = [
    "STATES",
    "UNDER_WAY",
    "Handed",
    "Known",
    "Progress",
    "Standing",
    "State",
    "Survey",
    "Trace",
    "find_job",
    "known_cells",
    "survey",
]
