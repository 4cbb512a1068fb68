"""What is told of a schedule that is not the paper's, and nothing of one that is."""

import pytest

from bench.report.captions import same_schedule
from bench.report.panel import Panel

WHOLE = {"name": "cifar100", "version": 1}


def panel(train=90, probe: int | None = 90, images: int | None = None, dataset=WHOLE):
    pretrain = {"train": {"epochs": train, "epoch_images": images}, "dataset": dataset, "backbone": "resnet9"}
    probed = None if probe is None else {"probe": {"epochs": probe}}
    return Panel(dataset, 32, pretrain, probed, "paper")


@pytest.mark.parametrize(
    ("own", "same"),
    [
        (panel(), True),
        (panel(probe=None), True),
        (panel(train=0), True),
        (panel(train=30), False),
        (panel(probe=30), False),
        (panel(images=5000), False),
        (panel(dataset={**WHOLE, "fraction": 0.1}), False),
    ],
)
def test_a_schedule_is_the_papers_in_all_that_was_done(own, same):
    assert same_schedule(own, (90, 90)) is same
