"""Every shape that an annotation promises, checked while every method trains and is probed."""

import os
import subprocess
import sys

SCRIPT = """
from jaxtyping import install_import_hook
checked = ["models", "bench.data.batches", "bench.features", "bench.heads", "bench.probe"]
hook = install_import_hook(checked, "beartype.beartype")
import pathlib, tempfile
from tests.learning import TRAINED, MemoryAttempt, make_batch, make_method, noise_data
from tests import test_probe
for name in TRAINED:
    method = make_method(name)
    batch, noises, schedule = make_batch(method, 0, 0, count=2)
    for phase, noise in zip(method.phases, noises, strict=True):
        method(phase.loss, batch, noise, schedule)
    method.reconstruct(batch.image)
folder = pathlib.Path(tempfile.mkdtemp())
weights = test_probe.save_weights(folder / "w.safetensors")
for freeze, flip in (("none", False), ("conv1-3", True)):
    test_probe.run(test_probe.probe_config(freeze, flip=flip, epochs=1), weights, MemoryAttempt(folder))
from models.losses import kl_normal
import torch
try:
    kl_normal(torch.zeros(2, 3), torch.zeros(2, 4))
except Exception as error:
    assert "kl_normal" in str(error), error
    print("checked")
"""


def test_annotated_shapes_hold():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "checked" in done.stdout
