"""Images that stay on the host: the same batches, the same runs bit for bit, the same errors, and no thread left."""

import threading
import time
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench import feature_store
from bench.checkpoint import read_tensors
from bench.cli import main
from bench.commands import run as run_command
from bench.data import streaming
from bench.data.arrays import Dataset, Split
from bench.data.batches import Pixels
from bench.data.chosen import ChosenImages, choose_rows
from bench.data.prefetch import Prefetch
from bench.data.streaming import StreamedPixels, open_pixels
from bench.errors import DataError, Interrupted
from bench.evaluations.task import Task
from bench.launch.control import Stop
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.test_probe import probe_config, save_weights
from tests.test_probe import run as run_probe
from tests.test_together import attempts_of, run_together, same_bits
from tests.test_train import StopAfter, rows, run

DATA = noise_data(size=16)


class Rows:
    """Images that are no array, as compressed ones are: rows by an integer array, and one of them may be broken."""

    def __init__(self, images, broken=None):
        self.images, self.broken = images, broken
        self.shape, self.dtype, self.nbytes = images.shape, images.dtype, images.nbytes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        if self.broken is not None and self.broken in np.atleast_1d(np.arange(len(self))[key]):
            raise DataError("cannot read broken.jpg: Input/output error")
        return self.images[key]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert [t.name for t in set(threading.enumerate()) - before if t.name == "prefetch"] == []


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "images.npy", DATA.train.images)
    return Split(np.load(tmp_path / "images.npy", mmap_mode="r"), DATA.train.labels)


def broken_data(row) -> Dataset:
    images: Any = Rows(DATA.train.images, row)
    split = Split(images, DATA.train.labels)
    return Dataset("broken", split, DATA.test, split, DATA.classes, "0", flip=False)


@pytest.mark.parametrize("expected", ["in order", "another order", "nothing"])
def test_a_streamed_batch_is_the_resident_one_in_values_and_in_layout(mapped, expected):
    g = torch.Generator().manual_seed(0)
    parts = torch.randperm(40, generator=g).split(8)
    flip = torch.rand(8, generator=g) < 0.5
    resident, streamed = Pixels(DATA.train, "cpu", "imagenet"), StreamedPixels(mapped, "cpu", "imagenet")
    with streamed:
        if expected != "nothing":
            streamed.expect(iter(parts if expected == "in order" else parts[::-1]))
        for part in parts:
            (image, label), (wanted, truth) = streamed.batch(part, flip), resident.batch(part, flip)
            assert torch.equal(image, wanted)
            assert image.stride() == wanted.stride()
            assert torch.equal(label, truth)
    assert len(streamed) == len(resident)
    assert torch.equal(streamed.rows(parts[0])[0], resident.rows(parts[0])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", ["imagenet", "symmetric"])
def test_a_batch_is_its_bytes_times_a_factor_less_an_offset_to_the_last_bit(scale, dtype):
    pixels, index = Pixels(DATA.train, "cpu", scale, dtype), torch.arange(7)
    flip = torch.tensor([True, False, True, True, False, False, True])
    images = torch.from_numpy(DATA.train.images[:7].copy())
    images = torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)
    wanted = (images.to(dtype) * pixels._factor - pixels._offset).contiguous(
        memory_format=torch.channels_last
    )
    found = pixels.batch(index, flip)[0]
    assert torch.equal(found, wanted)
    assert found.stride() == wanted.stride()


def test_a_row_that_is_not_there_is_refused_and_not_another(mapped):
    with pytest.raises(IndexError):
        StreamedPixels(mapped, "cpu", "imagenet").batch(torch.tensor([0, 40]))
    with pytest.raises(IndexError):
        StreamedPixels(mapped, "cpu", "imagenet").batch(torch.tensor([-1]))


def test_no_more_is_read_ahead_than_was_allowed():
    read = []
    ahead = Prefetch(lambda index: read.append(int(index)), (torch.tensor([i]) for i in range(50)), depth=3)
    time.sleep(0.1)
    assert read == [0, 1, 2]
    ahead.take(torch.tensor([0]))
    time.sleep(0.1)
    assert read == [0, 1, 2, 3]
    ahead.close()


def test_several_that_expect_different_orders_are_each_read_ahead(mapped, monkeypatch):
    orders = [torch.arange(40).split(10), torch.arange(40).flip(0).split(10)]
    read, where = StreamedPixels._read, []
    monkeypatch.setattr(
        StreamedPixels, "_read", lambda *args: (where.append(threading.current_thread().name), read(*args))[1]
    )
    with StreamedPixels(mapped, "cpu", "imagenet") as pixels:
        for number, parts in enumerate(orders):
            pixels.expect(iter(parts), of=number)
        for parts in zip(*orders, strict=True):
            for part in parts:
                assert pixels.batch(part)[1].tolist() == DATA.train.labels[part].tolist()
    assert where == ["prefetch"] * 8


@pytest.mark.parametrize("images", ["mapped", "rows"])
def test_a_pretraining_has_the_same_bits_streamed_and_resident(images, tmp_path, mapped):
    split = mapped if images == "mapped" else Split(Rows(DATA.train.images), DATA.train.labels)  # pyright: ignore[reportArgumentType]
    data = Dataset("noise", split, DATA.test, split, DATA.classes, "0", flip=True)
    config = pretrain_config("beta-vae", size=16, flip=True)
    resident, streamed = MemoryAttempt(tmp_path / "a"), MemoryAttempt(tmp_path / "b")
    run(config, resident, data=DATA)
    run(config, streamed, data=data, data_bytes=0)
    assert same_bits(*(read_tensors(a.dir / "model.safetensors")[0] for a in (resident, streamed)))
    assert rows(resident) == rows(streamed)
    assert any("streamed" in note for note in streamed.notes) == (images == "mapped")


def test_a_streamed_pretraining_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    config = pretrain_config("beta-vae", size=16)
    whole, parts = MemoryAttempt(tmp_path / "a"), MemoryAttempt(tmp_path / "b")
    run(config, whole, data=DATA, data_bytes=0)
    with pytest.raises(Interrupted):
        run(config, parts, data=DATA, data_bytes=0, stop=StopAfter(7))
    assert not [t for t in threading.enumerate() if t.name == "prefetch"]
    run(config, parts, data=DATA, data_bytes=0)
    assert same_bits(*(read_tensors(a.dir / "model.safetensors")[0] for a in (whole, parts)))


def test_seeds_trained_at_once_have_the_same_bits_streamed_and_resident(tmp_path):
    configs = [pretrain_config("beta-vae", seed, size=16, epochs=1) for seed in (0, 1)]
    resident, streamed = attempts_of(tmp_path / "a", 2), attempts_of(tmp_path / "b", 2)
    run_together(configs, resident, data=DATA)
    run_together(configs, streamed, data=DATA, data_bytes=0)
    for one, other in zip(resident, streamed, strict=True):
        assert same_bits(*(read_tensors(a.dir / "model.safetensors")[0] for a in (one, other)))


@pytest.mark.parametrize(
    ("freeze", "settings", "options"),
    [
        ("none", {"bn_affine": True, "flip": True}, {}),
        ("conv1-3", {"flip": True}, {}),
        ("conv1-3", {"holdout": True}, {"cache_bytes": 0}),
        ("none", {"bn_affine": True, "holdout": True}, {}),
    ],
    ids=["end to end", "features once", "features of every batch", "end to end with held-out images"],
)
def test_a_probe_has_the_same_bits_streamed_and_resident(freeze, settings, options, tmp_path):
    weights = save_weights(tmp_path / "pretrained.safetensors", size=16)
    config = probe_config(freeze, size=16, epochs=2, **settings)
    found = [
        run_probe(config, weights, MemoryAttempt(tmp_path), DATA, data_bytes=room, **options)["epochs"]
        for room in (1 << 30, 0)
    ]
    assert found[0] == found[1]


def test_images_go_when_their_features_are_there(tmp_path, monkeypatch):
    opened = []

    def watched(*args, **options):
        pixels = open_pixels(*args, **options)
        opened.append(weakref.ref(pixels))
        return pixels

    monkeypatch.setattr(feature_store, "open_pixels", watched)

    class Looking(MemoryAttempt):
        def log(self, row):
            assert [ref() for ref in opened] == [None, None]
            super().log(row)

    weights = save_weights(tmp_path / "pretrained.safetensors", size=16)
    run_probe(probe_config("conv1-5", size=16, epochs=1), weights, Looking(tmp_path), DATA)
    assert opened


def test_an_error_of_the_thread_reaches_the_trainer_as_it_was(tmp_path):
    with pytest.raises(DataError, match=r"cannot read broken\.jpg"):
        run(pretrain_config("beta-vae", size=16), MemoryAttempt(tmp_path), data=broken_data(17))


def test_an_error_is_raised_at_the_batch_it_belongs_to_and_not_before():
    pixels = StreamedPixels(broken_data(17).train, "cpu", "imagenet")
    with pixels:
        parts = torch.arange(40).split(8)
        pixels.expect(iter(parts))
        pixels.batch(parts[0])
        pixels.batch(parts[1])
        with pytest.raises(DataError):
            pixels.batch(parts[2])
        assert len(pixels.batch(parts[3])[0]) == 8


def test_an_order_that_cannot_be_made_is_an_error_where_it_is_needed(mapped):
    def orders():
        yield torch.arange(8)
        raise RuntimeError("no more orders")

    with StreamedPixels(mapped, "cpu", "imagenet") as pixels:
        pixels.expect(orders())
        pixels.batch(torch.arange(8))
        with pytest.raises(RuntimeError, match="no more orders"):
            pixels.batch(torch.arange(8))


def test_an_evaluation_is_given_streamed_images_which_end_with_it(tmp_path):
    options: Any = SimpleNamespace(data_bytes=0)
    attempt: Any = MemoryAttempt(tmp_path)
    config: Any = {"pretrain": {"train": {"scale": "imagenet"}}}
    nobody: Any = None
    task = Task(config, None, DATA, {}, {}, attempt, torch.device("cpu"), Stop(), nobody, options)
    pixels = task.pixels(DATA.train)
    assert isinstance(pixels, StreamedPixels)
    wanted = Pixels(DATA.train, "cpu", "imagenet").batch(torch.arange(40))[0]
    found = [pixels.batch(index)[0] for index in task.chunks(len(pixels), 16, ahead=pixels)]
    assert torch.equal(torch.cat(found), wanted)
    task.close()


def test_what_fits_is_resident_and_what_does_not_is_streamed_and_said(mapped, monkeypatch):
    notes: list[str] = []
    room = DATA.train.images.nbytes
    assert type(open_pixels(mapped, "cpu", "imagenet", budget=room, note=notes.append)) is Pixels
    assert type(open_pixels(mapped, "cpu", "imagenet", note=notes.append)) is Pixels
    assert notes == []
    assert type(open_pixels(mapped, "cpu", "imagenet", budget=room - 1, note=notes.append)) is StreamedPixels
    monkeypatch.setattr(streaming, "SMALL", 0)
    monkeypatch.setattr(streaming, "available_memory", lambda: room)
    assert type(open_pixels(mapped, "cpu", "imagenet", note=notes.append)) is StreamedPixels
    assert len(notes) == 2
    assert "40 images" in notes[0]
    rows: Any = Rows(DATA.train.images)
    compressed = Split(rows, DATA.train.labels)
    assert type(open_pixels(compressed, "cpu", "imagenet", budget=1 << 40)) is StreamedPixels


def test_chosen_rows_of_many_images_are_looked_up_and_not_copied(mapped, monkeypatch):
    rows = np.array([3, 1, 30])
    assert isinstance(choose_rows(mapped.images, rows), np.ndarray)
    monkeypatch.setattr("bench.data.chosen.COPIED", 0)
    chosen = choose_rows(mapped.images, rows)
    assert isinstance(chosen, ChosenImages)
    assert (chosen.shape, len(chosen), chosen.nbytes) == ((3, 3, 16, 16), 3, 3 * 768)
    for key in (0, slice(1, 3), np.array([2, 0])):
        assert np.array_equal(chosen[key], mapped.images[rows][key])


@pytest.mark.parametrize("what", ["data", "feature"])
def test_memory_is_an_option_and_a_size_that_is_none_is_one_line(what, tmp_path, monkeypatch, capsys):
    orders: list[Any] = []
    monkeypatch.setattr(run_command, "compute", lambda order, _: orders.append(order) or 0)
    words = ["run", "-m", "beta-vae", "-d", "digits", "-s", "1", "--results", str(tmp_path)]
    words.append(f"--{what}-memory")
    for size in ("1.5G", "0M", "0"):
        assert main([*words, size]) == 0
    assert [getattr(order, f"{what}_bytes") for order in orders] == [3 << 29, 0, 0]
    assert main([*words, "8 apples"]) == 2
    assert "'8 apples' is no size such as 0, 500M or 8G" in capsys.readouterr().err
    assert main([*words, "8G", "--slurm"]) == 2
