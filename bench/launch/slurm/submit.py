"""Packs become jobs: one array a class of resources, through submitit; then this process may end.

dispatch.json is written before each sbatch and after it. What a site refuses for now (a limit of jobs, a silent
controller) is tried again for a while, in smaller arrays; then what is queued stays queued, and the rest is told of.
"""

import getpass
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import scheduler
from bench.claims import Owner
from bench.dispatches import Dispatch, make_dispatch
from bench.launch.slurm import sbatch, snapshot
from bench.launch.slurm.jobs import Jobs, Request, cancel_orphans
from bench.launch.slurm.packing import Draft
from bench.launch.slurm.packs import write_packs
from bench.launch.slurm.profile import Profile
from bench.launch.slurm.work import Work, mark_of
from bench.scheduler import Unreachable

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


@dataclass
class Batch:
    """Drafts that become one array, or several where it is too large.

    Attributes:
        drafts: of one class, that wait for the same.
        children: the probes and evaluations that wait for each of them, task by task.
    """

    drafts: list[Draft]
    children: list[Draft] = field(default_factory=list)


@dataclass
class Submission:
    """What came of a dispatch.

    Attributes:
        dispatch: the record.
        submitted: drafts whose jobs are queued.
        left: drafts that are not.
        why: the reason for that, in one line; "" if nothing is left.
        refused: whether SLURM refused for good: trying again will not help.
    """

    dispatch: Dispatch
    submitted: list[Draft] = field(default_factory=list)
    left: list[Draft] = field(default_factory=list)
    why: str = ""
    refused: bool = False

    @property
    def arrays(self) -> list[str]:
        """Ids of arrays, and of jobs that are alone."""
        return list(dict.fromkeys(d.pack.array for d in self.submitted if d.pack.array))


def batches(drafts: Sequence[Draft]) -> Iterator[Batch]:
    """Drafts by the array that they belong to: of one class, and waiting for the same."""
    children = {id(draft.parent): draft for draft in drafts if draft.parent is not None}
    groups: dict[tuple[Any, ...], list[Draft]] = {}
    for draft in drafts:
        if draft.parent is None:
            key = (draft.pack.resources, draft.pack.after, draft.condition, id(draft) in children)
            groups.setdefault(key, []).append(draft)
    for group in groups.values():
        yield Batch(group, [children[id(draft)] for draft in group if id(draft) in children])


class Submitter:
    """Submits drafts.

    Args:
        request: how cells are run.
        profile: what the cluster wants to be told.
        work: what `work.choose` gave.
        note: told a line now and then.
        sleep: waits.
        clock: seconds.
    """

    def __init__(
        self,
        request: Request,
        profile: Profile,
        work: Work,
        note: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.request, self.profile, self.work, self.note = request, profile, work, note
        self._sleep, self._clock = sleep, clock
        self._deadline: float | None = None
        self._pause = FIRST_PAUSE
        self._arrays = 0
        self._doubtful: set[str] = set()
        # What has come of it so far, also for who is interrupted.
        self.done: Submission | None = None

    def run(self, drafts: Sequence[Draft]) -> Submission:
        """Submit everything, or as much as the site takes.

        Raises:
            SubmitError: SLURM refuses for good, and nothing was submitted.
            KeyboardInterrupt: Ctrl-C; what is queued is recorded and stays queued.
            OSError: the results folder cannot be written.
        """
        code = snapshot.take(self.request.results)
        self.dispatch = self._dispatch(drafts, code)
        self.done = done = Submission(self.dispatch)
        try:
            write_packs(self.dispatch, drafts, self.request, self.profile, self.work)
            for batch in batches(drafts):
                self._batch(batch)
        except _GiveUp as error:
            done.why, done.refused = str(error), error.refused
        finally:
            done.submitted = [draft for draft in drafts if draft.pack.job is not None]
            done.left = [draft for draft in drafts if draft.pack.job is None]
            self._close(done)
        if done.refused and not done.submitted:
            raise sbatch.SubmitError(done.why)
        return done

    def _dispatch(self, drafts: Sequence[Draft], code: Path) -> Dispatch:
        root = self.request.root
        dispatch = make_dispatch(
            self.request.results,
            argv=list(self.request.argv),
            host=socket.gethostname(),
            user=getpass.getuser(),
            cluster=scheduler.cluster_name() or "",
            profile=self.profile.facts(),
            root=None if root is None else str(root.absolute()),
            threads=self.request.threads,
            code=str(code),
            packs=[draft.pack for draft in drafts],
            submitter=mark_of(Owner.me()),
        )
        dispatch.submitit_dir.mkdir()
        return dispatch

    def _close(self, done: Submission) -> None:
        """Write the record for good; a dispatch of which nothing was submitted leaves nothing."""
        self._clear_doubts()
        dispatch = self.dispatch
        dispatch.packs = [pack for pack in dispatch.packs if pack.job is not None]
        dispatch.submitter = None
        if dispatch.packs:
            dispatch.write()
            for draft in done.left:
                dispatch.pack_path(draft.pack).unlink(missing_ok=True)
        else:
            shutil.rmtree(dispatch.dir, ignore_errors=True)

    def _batch(self, batch: Batch) -> None:
        waiting = dict(zip(map(id, batch.drafts), batch.children, strict=bool(batch.children)))
        condition = [f"{batch.drafts[0].condition}:{job}" for job in batch.drafts[0].pack.after]
        for array in self._arrays_of(batch.drafts, ",".join(condition)):
            children = [waiting[id(draft)] for draft in array if id(draft) in waiting]
            if not children:
                continue
            for child, parent in zip(children, array, strict=True):
                assert parent.pack.job is not None
                child.pack.after = (parent.pack.job,)
            # Task by task: what needs one pretraining does not wait for the others.
            kind = "aftercorr" if len(array) > 1 else "afterok"
            whole = f"{kind}:{array[0].pack.array}"
            try:
                if self._room(len(children)) >= len(children):
                    self._array(children, whole)
                    continue
            except (sbatch.SubmitError, Unreachable):
                pass
            for child in children:
                # In smaller arrays the tasks' numbers would not be their pretrainings'.
                for _ in self._arrays_of([child], f"afterok:{child.pack.after[0]}"):
                    pass

    def _arrays_of(self, drafts: list[Draft], dependency: str) -> Iterator[list[Draft]]:
        """Submit drafts in arrays as large as the site takes them; gives each that was."""
        left, size = list(drafts), len(drafts)
        while left:
            array: list[Draft] = []
            try:
                room = self._room(min(size, len(left)))
                array = left[:room]
                self._array(array, dependency)
            except Unreachable as error:
                self._wait(str(error))
            except sbatch.SubmitError as error:
                if error.fault == "refused":
                    raise _GiveUp(str(error), refused=True) from None
                if error.fault == "limit" and len(array) > 1:
                    size = len(array) // 2
                    continue
                self._wait(str(error))
            else:
                self._deadline, self._pause = None, FIRST_PAUSE
                left, size = left[len(array) :], max(size, 2 * len(array))
                yield array

    def _room(self, wanted: int) -> int:
        """Jobs to submit now, of so many.

        Raises:
            Unreachable: the controller is silent.
            SubmitError: the profile's own limit is reached.
        """
        room = min(wanted, sbatch.max_array_size())
        if limit := self.profile.options.max_queued:
            room = min(room, limit - sbatch.num_queued())
            if room < 1:
                raise sbatch.SubmitError(f"the profile lets no more than {limit} jobs be queued", "limit")
        return room

    def _array(self, drafts: list[Draft], dependency: str) -> None:
        """Submit drafts as one array, and record it.

        Raises:
            SubmitError: sbatch did not take it.
        """
        self._clear_doubts()
        kind = drafts[0].pack.resources
        name = f"bench-{self.dispatch.id}-{kind}-{self._arrays}"
        self._arrays += 1
        for draft in drafts:
            draft.pack.name = name
        self.dispatch.write()
        try:
            with sbatch.undisturbed():
                paths = [self.dispatch.pack_path(draft.pack) for draft in drafts]
                jobs = self._jobs(kind, name, dependency).submit(paths)
                for draft, job in zip(drafts, jobs, strict=True):
                    draft.pack.job = job
                self.dispatch.write()
        except sbatch.SubmitError as error:
            if error.fault != "limit":
                # SLURM may have taken the array and not been heard: it is in trouble, or sbatch was killed.
                self._doubtful.add(name)
            for draft in drafts:
                draft.pack.name = ""
            raise
        except (OSError, KeyboardInterrupt):
            if drafts[0].pack.job is None:
                # sbatch may have answered, and submitit not have found room for the work; or Ctrl-C, which waited
                # here, has ended an sbatch that does not let it wait, such as a site's script around it.
                self._doubtful.add(name)
            raise

    def _clear_doubts(self) -> None:
        self._doubtful -= {name for name in self._doubtful if cancel_orphans(name)}

    def _jobs(self, kind: str, name: str, dependency: str) -> Jobs:
        folder, code = self.dispatch.submitit_dir, Path(self.dispatch.code)
        return Jobs(self.profile, kind, self.request, folder, code, name, dependency)

    def _wait(self, why: str) -> None:
        now, patience = self._clock(), self.profile.options.submit_wait_s
        if self._deadline is None:
            self._deadline = now + patience
            if patience:
                self.note(f"{why}; trying again for {patience:.0f} s, and Ctrl-C keeps what is queued")
        if now + self._pause > self._deadline:
            raise _GiveUp(why)
        self._sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


class _GiveUp(Exception):
    """The rest is not submitted."""

    def __init__(self, why: str, refused: bool = False) -> None:
        super().__init__(why)
        self.refused = refused
