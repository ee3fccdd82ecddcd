"""The executor that runs units in worker processes of Ray: of this machine with its GPUs, or of a cluster.

Each worker opens the job once, out of Ray's object store, and then does units one after another; results travel one by one,
and the process that was asked stores them. Units of a chunk stay with one worker as long as there is other work, since
their reference features are made once. A worker that ends is replaced, and its unit is done again by another.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

import ray
import torch
from ray import cloudpickle

from salsanity.errors import UnitError, UsageError
from salsanity.executors.serial import Done, Failure, Results, done
from salsanity.executors.workers import Workers
from salsanity.records import UnitKey, UnitResult
from salsanity.units.files import Files, carried, load_carried, loaded_files
from salsanity.units.job import Job, Lot, Opened, Tick
from salsanity.units.parcel import Parts, packed, reduced, unpacked

TRIES: Final = 3
"""Workers that may end while they do a unit, before it is given up."""

AHEAD: Final = 2
"""Units that a worker has been sent while all are busy: the one that it does, and the next."""

LOOK: Final = 5.0
"""Seconds after which the cluster is looked at again, though no result came."""

GRACE: Final = 2.0
"""Seconds that workers have for leaving."""

PATIENCE: Final = 600.0
"""Seconds without any worker after which there seems to be no room for one."""


@final
@dataclass(frozen=True)
class RayExecutor:
    """Runs units in worker processes of Ray, which is started for the run unless there is a cluster, or Ray in this process.

    Workers stay until another job comes or the executor is closed, so that rounds of a run find the job open.
    """

    asked: Workers = Workers()
    _held: _Held = field(default_factory=lambda: _Held(), init=False, repr=False, compare=False)

    @property
    def threads(self) -> int | None:
        """Threads of PyTorch in a worker, where they were asked for: the run is then prepared with as many."""
        return self.asked.cpus_per_worker

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Tick | None = None) -> Results:
        """Yield each unit as soon as a worker has done it; closing ends what is computed, Ctrl-C passes through."""
        size = _Size.of(self.asked, job)
        goods = Goods.of(job)
        self._begin(size)
        self._held.prepare(goods)
        crew = _Crew(self._held, size, self.asked.workers, _Source(lots))
        try:
            yield from crew.results()
        finally:
            crew.stop()

    def told(self) -> tuple[str, ...]:
        """Say what happened to workers since it was asked last."""
        ended, self._held.ended = self._held.ended, []
        if not ended:
            return ()
        return (
            f"{len(ended)} worker(s) ended and were replaced, their units done again; the last: {ended[-1]}",
        )

    def close(self) -> None:
        """End the workers, and Ray where it was started for a run."""
        self._held.end()
        if self._held.is_own:
            self._held.is_own = False
            ray.shutdown()

    def _begin(self, size: _Size) -> None:
        if ray.is_initialized():
            return
        room: dict[str, Any] = {"address": self.asked.address}
        if self.asked.address is None:
            cores = self.asked.workers * size.cpus if self.asked.workers else _cores()
            room = {"address": "local", "num_cpus": max(cores, size.cpus)}
        try:
            with _as_it_was():
                ray.init(**room, log_to_driver=False, logging_level=logging.ERROR)
            _hush()
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = self.asked.address or "this machine"
            raise UsageError(
                f"expected a Ray cluster at {where}, got {_line(error)}; start one by `ray start --head`, or leave --address out"
            ) from error
        self._held.is_own = True


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Start Ray without reports of usage, and put back what it changes in this process."""
    usage, is_main = (
        "RAY_USAGE_STATS_ENABLED",
        threading.current_thread() is threading.main_thread(),
    )
    before, handler = os.environ.get(usage), signal.getsignal(signal.SIGTERM)
    os.environ.setdefault(usage, "0")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(usage, None)
        if is_main:
            signal.signal(signal.SIGTERM, handler)


def _hush() -> None:
    """Keep Ray from printing deaths of workers to the standard output, which may be read by a program (`told` says them)."""
    from ray._private import worker  # there is no public switch

    worker._worker_logs_enabled = False


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@final
@dataclass(frozen=True)
class _Size:
    """What one worker takes of a machine."""

    cpus: int
    gpus: float

    @classmethod
    def of(cls, asked: Workers, job: Job) -> _Size:
        """Return it as asked, or as the run is: on a GPU or not, with so many threads."""
        is_cuda = torch.device(job.device).type == "cuda"
        gpus = float(is_cuda) if asked.gpus_per_worker is None else asked.gpus_per_worker
        if is_cuda != (gpus > 0):
            raise UsageError(
                f"expected workers on the device of the run, {job.device}, got {gpus:g} GPUs for each; give --device and "
                "--gpus-per-worker that fit, on a machine that has what the workers have"
            )
        return cls(asked.cpus_per_worker or job.threads or torch.get_num_threads(), gpus)

    def room(self) -> int:
        """Count the workers for which the machines of the cluster have room."""
        has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        counts = [one.get("CPU", 0) // self.cpus for one in has]
        if self.gpus:
            by_gpu = [one.get("GPU", 0) / self.gpus for one in has]
            counts = [min(a, b) for a, b in zip(counts, by_gpu, strict=True)]
        return max(1, sum(map(int, counts)))


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Takes what was defined in a script or a notebook by value, and parametrised layers too."""

    def reducer_override(self, value: Any) -> Any:
        found = reduced(value)
        return (
            cloudpickle.Pickler.reducer_override(self, value) if found is NotImplemented else found
        )


def _dumped(value: Any) -> bytes:
    found = io.BytesIO()
    _ByValue(found).dump(value)
    return found.getvalue()


@final
@dataclass(frozen=True)
class Goods:
    """A job as it lies in the object store: its parts by value, the user's files behind them, and their contents."""

    parts: Parts
    files: Files
    contents: dict[str, bytes]
    threads: int
    folder: str
    """The working directory, from which relative paths are read."""

    @property
    def key(self) -> str:
        """Digest of everything."""
        found = hashlib.sha256(repr((self.files, self.threads, self.folder)).encode())
        for name, part in (*self.parts, *self.contents.items()):
            found.update(f"{name} {len(part)} ".encode())
            found.update(part)
        return found.hexdigest()

    @classmethod
    def of(cls, job: Job) -> Goods:
        """Pack a job; `UsageError` names what cannot travel."""
        parts = packed(job, _dumped)
        files = loaded_files(part for _, part in parts)
        return cls(parts, files, carried(files), job.threads, os.getcwd())  # noqa: PTH109 - a text

    def job(self, folder: Path) -> Job:
        """Unpack the job in another process; copies of the user's files are made in `folder` where they are not there."""
        with suppress(OSError):  # another machine
            os.chdir(self.folder)
        load_carried(self.files, self.contents, folder)
        found: Job = unpacked(Job, self.files, self.parts)
        is_cuda = torch.device(found.device).type == "cuda"
        return replace(found, device="cuda") if is_cuda else found  # Ray shows a worker its own


class Bench:
    """The actor: a process that opens the job and does units."""

    def __init__(self, goods: Goods) -> None:
        self.goods: Goods | None = goods
        self.opened: Opened | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="salsanity-code-"))

    def open(self) -> Failure | None:
        """Open the job; return why that cannot be done."""
        try:
            if self.goods is not None:
                self.opened = self.goods.job(self.folder).open()
            self.goods = None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
            return Failure.of(error)
        return None

    def do(self, unit: UnitKey) -> UnitResult | Failure | None:
        """Do a unit; None where it was interrupted."""
        try:
            return done(self._open(), unit)
        except KeyboardInterrupt:
            return None

    def leave(self) -> None:
        """Remove the copies of the user's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self) -> Opened:
        if self.opened is None:
            raise UnitError("expected an opened job, got none; open it first")
        return self.opened


class _Source:
    """Lots, those first that come back from workers that ended."""

    def __init__(self, lots: Iterable[Lot]) -> None:
        self.lots = iter(lots)
        self.back: deque[Lot] = deque()
        self.count = sum(map(len, lots)) if isinstance(lots, list | tuple) else None
        """Units in all, where that is known: more workers are of no use."""

    def next(self) -> Lot:
        """Return the next lot; empty where there is none."""
        return self.back.popleft() if self.back else next(self.lots, ())


@dataclass(eq=False)
class _Held:
    """What an executor holds between runs: workers, and the job that they opened; whether Ray is its own."""

    is_own: bool = False
    key: str = ""
    goods: Any = None
    posts: list[_Post] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """What the workers died of that nobody ended."""

    def prepare(self, goods: Goods) -> None:
        """Put a job into the object store; workers that opened another one are ended."""
        if goods.key != self.key or not ray.is_initialized():
            self.end()
            self.key, self.goods = goods.key, ray.put(goods)

    def end(self) -> None:
        """End the workers in good order."""
        posts, self.posts, self.key, self.goods = self.posts, [], "", None
        if not ray.is_initialized() or not posts:
            return
        with suppress(Exception):  # they end in any case
            left = [post.actor.leave.remote() for post in posts]
            ray.wait(left, num_returns=len(left), timeout=GRACE)
        for post in posts:
            post.end()


@dataclass(eq=False)
class _Post:
    """A worker, what it was sent, and what is to be sent next."""

    actor: Any
    opening: Any
    is_open: bool = False
    sent: deque[tuple[Any, UnitKey]] = field(default_factory=deque)
    waiting: deque[UnitKey] = field(default_factory=deque)

    @property
    def next(self) -> Any:
        """What comes from it next; None where nothing does."""
        if not self.is_open:
            return self.opening
        return self.sent[0][0] if self.sent else None

    @property
    def is_idle(self) -> bool:
        """Whether it has opened the job and has nothing to do."""
        return self.is_open and not self.sent

    def end(self) -> None:
        """End the process at once."""
        with suppress(Exception):  # it may have ended
            ray.kill(self.actor)


class _Crew:
    """The workers of one run; hires, gives work, takes results, and replaces those that end."""

    def __init__(self, held: _Held, size: _Size, count: int | None, source: _Source) -> None:
        self.held, self.size, self.count, self.source = held, size, count, source
        self.tries: Counter[UnitKey] = Counter()
        self.stillborn = 0
        self.looked = self.worked = time.monotonic()
        self.actor = ray.remote(Bench)

    def results(self) -> Iterator[Done]:
        """Yield every unit with its result, in the order in which they are done."""
        self._hire()
        while self._give():
            by_ref = {post.next: post for post in self.posts if post.next is not None}
            ready, waiting = ray.wait(list(by_ref), num_returns=1, timeout=LOOK)
            more = ray.wait(waiting, num_returns=len(waiting), timeout=0)[0] if waiting else []
            for ref in [*ready, *more]:
                yield from self._take(by_ref[ref], ref)
            self._look()

    @property
    def posts(self) -> list[_Post]:
        """The workers."""
        return self.held.posts

    def stop(self) -> None:
        """End what is computed; workers without work stay."""
        if ray.is_initialized():
            for post in [*self.posts]:
                post.waiting.clear()
                if not post.is_idle:
                    self.posts.remove(post)
                    post.end()

    def _hire(self) -> None:
        wanted = self.count or self.size.room()
        wanted = wanted if self.source.count is None else min(wanted, self.source.count)
        while len(self.posts) < wanted:
            actor = self.actor.options(
                num_cpus=self.size.cpus, num_gpus=self.size.gpus, max_restarts=0
            ).remote(self.held.goods)
            self.posts.append(_Post(actor, actor.open.remote()))

    def _give(self) -> bool:
        """Send units to workers that have room for more; say whether anything is to be waited for."""
        self._send(1)
        if all(post.is_open and post.sent for post in self.posts):
            self._send(AHEAD)  # nobody else could take the next unit
        is_work_left = bool(self.source.back) or any(p.sent or p.waiting for p in self.posts)
        if is_work_left or any(post.is_open for post in self.posts):
            return is_work_left
        lot = self.source.next()  # nobody is open yet: wait for the first, if there is work
        if lot:
            self.source.back.append(lot)
        return bool(lot)

    def _send(self, most: int) -> None:
        for post in self.posts:
            while post.is_open and len(post.sent) < most and (post.waiting or self._find(post)):
                unit = post.waiting.popleft()
                post.sent.append((post.actor.do.remote(unit), unit))

    def _find(self, post: _Post) -> bool:
        """Find work for a worker: a lot, or half of what waits where most does."""
        post.waiting.extend(self.source.next())
        if not post.waiting:
            busiest = max(self.posts, key=lambda other: len(other.waiting))
            for _ in range((len(busiest.waiting) + 1) // 2):
                post.waiting.appendleft(busiest.waiting.pop())
        return bool(post.waiting)

    def _take(self, post: _Post, ref: Any) -> Iterator[Done]:
        try:
            found = ray.get(ref)
        except ray.exceptions.RayTaskError as error:  # what came cannot be pickled, or read here
            found = Failure.of(error.cause if isinstance(error.cause, Exception) else error)
        except ray.exceptions.RayError as error:
            yield from self._lost(post, error)
            return
        self.worked = time.monotonic()
        if not post.is_open:
            self._opened(post, found)
            return
        _, unit = post.sent.popleft()
        if found is None:
            raise KeyboardInterrupt
        yield unit, found

    def _opened(self, post: _Post, found: Failure | None) -> None:
        if found is not None:
            raise found.error
        post.is_open, self.stillborn = True, 0

    def _lost(self, post: _Post, error: Exception) -> Iterator[Done]:
        """Replace a worker that ended; the unit that it did is done again by another, or given up."""
        self.posts.remove(post)
        post.end()
        self.held.ended.append(_line(error))
        if not post.is_open:
            self.stillborn += 1
            if self.stillborn >= TRIES:
                raise UsageError(
                    f"expected workers that open the job, but {TRIES} ended while they did so ({_line(error)}); see that every "
                    "machine has salsanity, its versions of Python and PyTorch, and memory for the network"
                ) from error
        units = [*(unit for _, unit in post.sent), *post.waiting]
        first, rest = units[:1], tuple(units[1:])
        if rest:
            self.source.back.appendleft(rest)
        for unit in first:
            self.tries[unit] += 1
            if self.tries[unit] >= TRIES:
                yield unit, _given_up(error)
            else:
                self.source.back.appendleft((unit,))
        self._hire()

    def _look(self) -> None:
        """Now and then, see whether there is room for more workers, or for none at all."""
        now = time.monotonic()
        if now - self.looked < LOOK:
            return
        self.looked = now
        if self.count is None:
            self._hire()
        if any(post.is_open for post in self.posts):
            self.worked = now
        elif now - self.worked > PATIENCE:
            raise UsageError(
                f"expected room for a worker ({self.size.cpus} CPUs and {self.size.gpus:g} GPUs) on the Ray cluster, got none "
                f"for {PATIENCE:.0f} s; free some, add a machine, or ask for less (--cpus-per-worker, --gpus-per-worker)"
            )


def _given_up(error: Exception) -> Failure:
    return Failure.of(
        UnitError(
            f"expected a worker to finish this unit, but {TRIES} ended while they did it, the last by {_line(error)}; look for "
            "what ends a process (memory, os._exit, faults in compiled code)"
        )
    )


def _line(error: BaseException) -> str:
    """Return an error of Ray's in one line of bearable length."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:300]}"
