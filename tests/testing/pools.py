"""Executors as somebody would write them: ten lines in this process, and a pool of processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from salsanity.executors.serial import Done, done
from salsanity.units.job import Job, Lot, Opened


@dataclass(frozen=True)
class InProcess:
    """The least that an executor is."""

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Any = None) -> Iterator[Done]:
        opened = job.open(tick=tick)
        for lot in lots:
            for unit in lot:
                yield unit, done(opened, unit)


@dataclass(frozen=True)
class Pool:
    """Two new processes; each opens the job once, and no more lots are taken than the processes need."""

    workers: int = 2

    def run(self, job: Job, lots: Iterable[Lot], *, tick: Any = None) -> Iterator[Done]:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, spawn, initializer=_take, initargs=(job,))
        waiting: deque[Future[list[Done]]] = deque()
        try:
            for lot in lots:
                waiting.append(pool.submit(_do, lot))
                if len(waiting) > self.workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


_here: dict[str, Any] = {}


def _take(job: Job) -> None:
    _here["job"] = job


def _do(lot: Lot) -> list[Done]:
    opened: Opened = _here.get("opened") or _here["job"].open()
    _here["opened"] = opened
    return [(unit, done(opened, unit)) for unit in lot]
