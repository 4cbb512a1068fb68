"""Several seeds of one pretraining in lock step: one vmapped forward and backward and one update for all of them.

Each seed has the initial weights, the order, flips, noise, schedule and Adam state that it has alone, writes an
attempt of its own, and saves checkpoints from which it can go on alone. Where a seed ends before the others, its
entries stay in the stack: what the others compute does not change by a bit.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.build import module_state, under
from bench.data.arrays import Dataset
from bench.data.batches import Pixels
from bench.errors import Apart, Diverged, Interrupted, OutOfTime, Preempted
from bench.launch.control import Progress, RunOptions, Stop
from bench.loop import EpochMeans, Pace, prepare_device
from bench.prepared import prepare
from bench.speed import Speed
from bench.stacked import StackedSteps
from bench.train import conclude, log_epoch, pixels_of, ready_method
from models.method import Method

if TYPE_CHECKING:
    from bench.records import Attempt

Ending = dict[str, Any] | Exception


def pretrain_together(
    configs: Sequence[dict[str, Any]],
    data: Dataset,
    attempts: "Sequence[Attempt]",
    *,
    device: str,
    stop: Stop,
    progress: Sequence[Progress],
    options: RunOptions,
) -> Iterator[tuple[int, Ending]]:
    """Train several seeds of a method at once; see `bench.train.pretrain`, which trains one.

    Args:
        configs: of pretraining cells that differ in their seed alone.
        data: the data set they name.
        attempts: each cell's own.
        device: "cpu", "cuda", ...
        stop: asked after every step.
        progress: each cell's own; images per second are those of all seeds.
        options: as of one cell; `bench.speed.stacked` says which switches can be in force.

    Yields:
        (number of the cell, how it ended) as soon as it has: the body of its result, or what `pretrain` would have
        raised; `bench.errors.Apart` where it must be trained alone, from what its attempt has saved.
    """
    where = prepare_device(device, options)
    saved: dict[int, Any] = {}
    for number, attempt in enumerate(attempts):
        try:
            saved[number] = attempt.load_checkpoint()
        except Exception as error:
            yield number, error
    steps = {number: 0 if found is None else found[1]["step"] for number, found in saved.items()}
    step = Counter(steps.values()).most_common(1)[0][0] if steps else 0
    chosen = [number for number, at in steps.items() if at == step]
    for number, at in steps.items():
        if at != step:
            yield number, Apart(f"it goes on from step {at}, the other seeds from step {step}")
    if len(chosen) == 1:
        yield chosen[0], Apart("no other seed is at its step")
    elif chosen:
        members = [
            Member(
                number, configs[number], ready_method(configs[number], data, where), attempts[number], where
            )
            for number in chosen
        ]
        note = members[0].attempt.note
        with pixels_of(configs[0], data, where, options.data_bytes, note) as pixels:
            group = Group(members, pixels, options.switches)
            group.resume([saved[number] for number in chosen])
            yield from group.run(data, where, stop, progress, options)


class Member:
    """What is counted and kept of one seed among the others.

    Args:
        number: of its cell among those that were given.
        config: of the cell.
        method: with its initial weights.
        attempt: where its checkpoints, metrics and weights go.
        where: the device.
    """

    def __init__(
        self,
        number: int,
        config: dict[str, Any],
        method: Method,
        attempt: "Attempt",
        where: torch.device,
    ) -> None:
        self.number, self.config, self.method, self.attempt = number, config, method, attempt
        self.means = EpochMeans(where)
        self.before = 0.0
        self.images = 0
        self.final: dict[str, float] = {}


class Group:
    """Seeds that take their steps together.

    Args:
        members: the seeds.
        pixels: the images of all of them.
        speed: see `StackedSteps`.
    """

    def __init__(self, members: Sequence[Member], pixels: Pixels, speed: Speed) -> None:
        self.members, self.living = list(members), list(members)
        self._ended: list[tuple[int, Ending]] = []
        prepare(members[0].method, speed, members[0].attempt.note)
        seeds = [int(member.config["seed"]) for member in members]
        methods = [member.method for member in members]
        self.steps = StackedSteps(methods, pixels, members[0].config["train"], seeds, speed)

    def resume(self, saved: Sequence[tuple[dict[str, Tensor], dict[str, Any]] | None]) -> None:
        """Go on from checkpoints of one step; None is the beginning."""
        states = []
        for member, found in zip(self.members, saved, strict=True):
            if found is None:
                return
            tensors, meta = found
            member.method.load_state_dict(under(tensors, "model."))
            member.means.load(under(tensors, "epoch."), meta["epoch_count"])
            member.images, member.before = meta["images"], meta["seconds"]
            self.steps.done = meta["step"]
            states.append(tensors)
        self.steps.load_optimizer_states(states)

    def run(
        self,
        data: Dataset,
        where: torch.device,
        stop: Stop,
        progress: Sequence[Progress],
        options: RunOptions,
    ) -> Iterator[tuple[int, Ending]]:
        """Take all steps; see `pretrain_together`."""
        steps, first = self.steps, self.steps.done

        def tell(step: int, total: int, rate: float, values: dict[str, float]) -> None:
            del values
            for member in self.living:
                progress[member.number](step, total, rate, member.means.means())

        self._pace = Pace(steps.total, stop, tell, options, self.save, self)
        while steps.done < steps.total and self.living:
            try:
                losses, count = steps.next()
            except Exception as error:
                # What cannot be stacked, or does not fit into memory, may do alone; nothing is lost yet.
                text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                alone = (
                    Apart(f"its first step with other seeds failed: {text}") if steps.done == first else error
                )
                self._end_all(alone)
                break
            for member, values in zip(self.members, losses, strict=True):
                member.means.add(values, count, steps.done)
                member.images += count
            if steps.done % steps.per_epoch == 0:
                self._end_epoch()
            try:
                last = steps.done == steps.total
                self._pace.after_step(steps.done, count * len(self.members), last=last)
            except (Interrupted, OutOfTime, Preempted) as error:
                self._end_all(error)
            yield from self._told()
        for member in self.living:
            yield member.number, self._conclude(member, data, where)
        yield from self._told()

    def check(self) -> None:
        """End those of which a loss was not finite; the others go on."""
        for member in self.living:
            try:
                member.means.check()
            except Diverged as error:
                self._end(member, error)

    def means(self) -> dict[str, float]:
        """Of no single seed: each is told its own."""
        return {}

    def save(self) -> None:
        """Write each seed's checkpoint; one that cannot be written ends its seed alone."""
        states = self.steps.optimizer_states()
        for member, state in zip(self.members, states, strict=True):
            if member not in self.living:
                continue
            facts = {
                "step": self.steps.done,
                "epoch_count": member.means.count,
                "images": member.images,
                "seconds": self._seconds(member),
                "compiled": False,
            }
            tensors = {**module_state(member.method, "model."), **state, **member.means.state()}
            try:
                member.attempt.save_checkpoint(tensors, facts)
            except Exception as error:
                self._end(member, error)

    def _seconds(self, member: Member) -> float:
        """A seed's share of what the group has taken."""
        return member.before + self._pace.seconds / len(self.members)

    def _end_epoch(self) -> None:
        self.check()
        done, per_epoch = self.steps.done, self.steps.per_epoch
        for member in self.members:
            if member not in self.living:
                member.means.reset()
                continue
            try:
                member.final = log_epoch(
                    member.attempt,
                    member.method,
                    member.means,
                    done,
                    per_epoch,
                    self._seconds(member),
                    self._pace.rate,
                )
            except OSError as error:
                self._end(member, error)

    def _conclude(self, member: Member, data: Dataset, where: torch.device) -> Ending:
        seconds, done = self._seconds(member), self.steps.done
        try:
            return conclude(
                member.config,
                data,
                member.method,
                member.attempt,
                where,
                member.final,
                done,
                member.images,
                seconds,
            )
        except Exception as error:
            return error

    def _end(self, member: Member, ending: Ending) -> None:
        self.living = [other for other in self.living if other is not member]
        self._ended.append((member.number, ending))

    def _end_all(self, error: Exception) -> None:
        for member in self.living:
            self._end(member, error)

    def _told(self) -> Iterator[tuple[int, Ending]]:
        told, self._ended = self._ended, []
        yield from told
