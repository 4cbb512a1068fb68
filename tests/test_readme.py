"""The README's examples are what they say: a method, registered from outside, trained; a study with its claims."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.engines import PlainEngine, train_step
from models import losses
from models.backbones import Backbone
from models.method import Method, Noise, Phase
from models.networks import pyramid_decoder
from tests.learning import make_batch

README = Path(__file__).parent.parent / "README.md"


@dataclass(frozen=True)
class DenoisingConfig:
    sigma: float = 0.5


def example() -> Any:
    (code,) = re.findall(r"```python\n(class .*?)```", README.read_text(), re.DOTALL)
    names: dict[str, Any] = {
        **{"Method": Method, "Noise": Noise, "Phase": Phase, "losses": losses},
        **{"pyramid_decoder": pyramid_decoder, "DenoisingConfig": DenoisingConfig},
    }
    exec(code, names)
    return names["Denoising"]


def test_the_example_learns_to_rebuild_clean_images():
    torch.manual_seed(0)
    method = example()(DenoisingConfig(), Backbone("resnet9"), 32).train()
    engine = PlainEngine(method)
    optimizer = torch.optim.Adam(engine.parameters.values(), lr=1e-3)
    values = []
    for _ in range(15):
        batch, noises, schedule = make_batch(method, 0, 0)
        values.append(float(train_step(engine, optimizer, batch, noises, schedule)["loss"]))
    assert values[-1] < 0.7 * values[0]


def test_the_example_of_a_study_is_one(tmp_path):
    from bench.studies import load_study

    (code,) = re.findall(r"```python\n(from bench.studies .*?)```", README.read_text(), re.DOTALL)
    path = tmp_path / "latents.py"
    path.write_text(code)
    (table,) = load_study(path).tables
    assert [row.published for row in table.rows] == [(21.5, None), ()]
    (claim,) = table.claims
    spoken_of = [column for column in table.columns if claim.speaks_of(column.dataset, *column.kind)]
    assert [column.metric for column in spoken_of] == ["top1"]
