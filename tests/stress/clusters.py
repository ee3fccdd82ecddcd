"""Runs on a Ray cluster of several nodes on this machine: workers, nodes and drivers that are killed, poison, Ctrl-C.

Whatever happens: no finished unit is lost or computed again, the scores are those of a serial run bit for bit, and no process
stays behind (every process of a run inherits a mark in its environment, by which it is looked for).
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attempts import SUBJECT, fresh_folder
from ledger import Entry, Ledger
from runs import Outcome, here, whole_units

ROOT = Path(__file__).resolve().parents[2]
MARK = "SALSANITY_STRESS_RUN"
STORE = 78 * 2**20
SLOWEST = 420.0
"""Seconds after which a run counts as hanging."""

CHECK = (
    *("check", "--model", f"{SUBJECT}:honest_float32", "--data", f"{SUBJECT}:plain_images"),
    *("--device", "cpu", "--gallery", "0", "--max-images", "12", "--similarity", "spearman,ssim"),
    *("--samples", "10", "--batch-size", "8", "--memory-format", "contiguous"),
)
PLAIN = (*CHECK, "--method", "gradient,smoothgrad,vargrad")


def with_draws(command: Sequence[str], draws: int) -> tuple[str, ...]:
    return (*command, "--draws", str(draws))


@contextmanager
def cluster(nodes: int = 2, **head: Any) -> Iterator[Any]:
    """Yield a cluster with a head that has no cores and nodes that have one each; nobody is connected to it."""
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": STORE,
            **head,
        },
    )
    try:
        for _ in range(nodes):
            found.add_node(num_cpus=1, object_store_memory=STORE)
        yield found
    finally:
        with suppress(Exception):
            found.shutdown()


def on_ray(command: Sequence[str], folder: Path, *, address: str = "") -> tuple[str, ...]:
    where = ("--address", address) if address else ()
    return (*command, "--out", str(folder), "--executor", "ray", "--workers", "2", *where)


@dataclass
class Driver:
    """A command in a process of its own, in a group of its own, with a mark that all its descendants have."""

    arguments: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: Any = None

    def start(self) -> Driver:
        env = {**os.environ, MARK: self.mark, **self.environment}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("quietly.py")), *self.arguments],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        return self

    def ended(self, seconds: float = SLOWEST) -> int | None:
        """Wait for its exit code; None where it still runs."""
        try:
            self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        return int(self.process.returncode)

    def orphans(self, seconds: float = 90.0) -> list[str]:
        """Return the processes with the mark that are there after so many seconds at most."""
        deadline = time.monotonic() + seconds
        while (found := marked(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found


def marked(mark: str) -> list[str]:
    """Return number and command of every process that has the mark in its environment."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append(f"{folder.name} {words_of(int(folder.name))[:60]}")
    return found


def words_of(process: int) -> str:
    with suppress(OSError):
        return (Path("/proc") / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def benches(mark: str, *, at_work: bool = True) -> list[int]:
    """Return the worker processes with a mark: those in the middle of a unit, or all."""
    title = "ray::Bench.do" if at_work else "ray::Bench"
    return [
        int(one.split(" ")[0]) for one in marked(mark) if title in words_of(int(one.split(" ")[0]))
    ]


@contextmanager
def marking() -> Iterator[str]:
    """Give this process, and so the cluster that it starts, a mark."""
    os.environ[MARK] = uuid.uuid4().hex
    try:
        yield os.environ[MARK]
    finally:
        del os.environ[MARK]


def serially(command: Sequence[str], folder: Path) -> Outcome:
    with Path(os.devnull).open("w") as null, redirect_stdout(null), redirect_stderr(null):
        here([*command, "--out", str(folder)])
    return Outcome.of(folder)


def compare(entry: Entry, folder: Path, wanted: Outcome, kept: dict[str, Any], what: str) -> None:
    """Count a run that came to its end, and what it lost."""
    found = Outcome.of(folder)
    now = whole_units(folder)
    again = [name for name, state in kept.items() if now.get(name) != state]
    entry.attempt(
        not again, f"{what}: finished units lost or computed again: {again[:2]} of {len(again)}"
    )
    difference = found.difference(wanted)
    if difference:
        entry.lose(f"{what}: {difference}")


@dataclass
class Hits:
    """Kills in a thread while a run goes on: after each, waits until the run has finished two more units."""

    folder: Path
    hit: Callable[[], bool]
    most: int
    chance: random.Random
    count: int = 0
    kept: dict[str, Any] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Hits:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _run(self) -> None:
        seen = -2
        while not self.over.wait(0.02) and self.count < self.most:
            done = len(list(self.folder.glob("scores/*.parquet")))
            if done < seen + 2:
                continue
            self.over.wait(self.chance.uniform(0, 0.4))
            self.kept |= whole_units(self.folder)
            if not self.over.is_set() and self.hit():
                self.count, seen = self.count + 1, done


def killed_workers(entry: Entry, *, kills: int, draws: int = 24) -> None:
    """SIGKILL a worker in the middle of a unit, again and again, in as many runs as it takes."""
    top, chance = fresh_folder(), random.Random(17)
    command = with_draws(PLAIN, draws)
    wanted = serially(command, top / "serial")
    runs = 0

    def hit(mark: str) -> bool:
        found = benches(mark)
        if found:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(found), signal.SIGKILL)
                return True
        return False

    with marking() as mark, cluster() as found:
        while entry.tried < kills and runs < kills:
            folder = top / f"run{runs}"
            driver = Driver(on_ray(command, folder, address=found.address)).start()
            left = kills - entry.tried
            with Hits(folder, lambda: hit(mark), left, chance) as hits:
                code = driver.ended()
            entry.tried += hits.count - 1
            if code is None:
                driver.process.kill()
                entry.attempt(False, "hangs")
                break
            if code not in (0, 1, 3):
                entry.lose(f"exit code {code}")
            compare(entry, folder, wanted, hits.kept, f"run {runs}, {hits.count} kills")
            runs += 1
            shutil.rmtree(folder)
    entry.remarks.append(f"{runs} runs of {draws} units on two nodes")
    shutil.rmtree(top)


def lost_nodes(entry: Entry, *, times: int, draws: int = 24) -> None:
    """Remove a node in the middle of a run, and add another."""
    top, chance = fresh_folder(), random.Random(18)
    command = with_draws(PLAIN, draws)
    wanted = serially(command, top / "serial")
    with marking(), cluster() as found:
        for number in range(times):
            folder = top / f"run{number}"
            driver = Driver(on_ray(command, folder, address=found.address)).start()

            until_units(folder, chance.randrange(1, draws // 2), driver)
            kept = whole_units(folder)
            nodes = [node for node in found.list_all_nodes() if node is not found.head_node]
            found.remove_node(chance.choice(nodes), allow_graceful=False)
            found.add_node(num_cpus=1, object_store_memory=STORE)
            in_time = driver.process.poll() is None
            code = driver.ended()
            if code not in (0, 1, 3):
                entry.lose(f"exit code {code}")
            if not in_time:
                entry.lose("the run was over before the nodes had changed")
            compare(entry, folder, wanted, kept, f"run {number}")
            shutil.rmtree(folder)
    shutil.rmtree(top)


def killed_drivers(entry: Entry, *, kills: int, draws: int = 24) -> None:
    """SIGKILL the command itself, and give it again, until it comes to its end; workers must not outlive it."""
    top, chance = fresh_folder(), random.Random(19)
    command = with_draws(PLAIN, draws)
    wanted = serially(command, top / "serial")
    runs = 0
    with marking() as mark, cluster() as found:
        while entry.tried < kills:
            folder, kept = top / f"run{runs}", {}
            while entry.tried < kills:
                driver = Driver(on_ray(command, folder, address=found.address)).start()
                before = len(list(folder.glob("scores/*.parquet")))
                until_units(folder, before + chance.randrange(1, 6), driver)
                if driver.ended(chance.uniform(0, 0.5)) is not None:
                    break
                kept |= whole_units(folder)
                driver.process.kill()
                driver.ended(10)
                entry.attempt(*gone(mark))
            code = Driver(on_ray(command, folder, address=found.address)).start().ended()
            if code not in (0, 1, 3):
                entry.lose(f"exit code {code}")
            entry.tried -= 1
            compare(entry, folder, wanted, kept, f"run {runs}")
            runs += 1
            shutil.rmtree(folder)
    entry.remarks.append(f"{runs} runs")
    shutil.rmtree(top)


def until_units(folder: Path, count: int, driver: Driver) -> None:
    deadline = time.monotonic() + SLOWEST
    while time.monotonic() < deadline and driver.process.poll() is None:
        if len(list(folder.glob("scores/*.parquet"))) >= count:
            return
        time.sleep(0.02)


def gone(mark: str, seconds: float = 30.0) -> tuple[bool, str]:
    """Whether the workers of a driver that was killed end by themselves."""
    deadline = time.monotonic() + seconds
    while (found := benches(mark, at_work=False)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not found, f"workers outlive their driver: {found}"


def out_of_memory(entry: Entry, *, gigabytes: float = 3.0) -> None:
    """An explainer takes more memory than its node has, once: Ray ends the worker, and the unit is done again."""
    top = fresh_folder()
    method = ("--method", f"gradient,{SUBJECT}:takes_memory_once")
    command = with_draws((*CHECK, *method), 6)
    wanted = serially(command, top / "serial")
    total, free = memory()
    config = {
        "memory_usage_threshold": (total - free + gigabytes / 2) / total,
        "memory_monitor_refresh_ms": 100,
    }
    flag = top / "taken"
    given = {"TAKES": str(gigabytes), "TAKES_ONCE": str(flag)}
    os.environ.update(given)
    try:
        with marking(), cluster(_system_config=config) as found:
            folder = top / "run"
            code = Driver(on_ray(command, folder, address=found.address)).start().ended()
            if code not in (0, 1, 3):
                entry.lose(f"exit code {code}")
            if not flag.exists():
                entry.lose("no memory was taken")
            compare(entry, folder, wanted, {}, "run")
    finally:
        for name in given:
            del os.environ[name]
    shutil.rmtree(top)


def memory() -> tuple[float, float]:
    """Return all memory and what is free, in GiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = {line.partition(":")[0]: float(line.split()[1]) / 2**20 for line in lines}
    return sizes["MemTotal"], sizes["MemAvailable"]


def poison(entry: Entry) -> None:
    """A unit that ends every worker that does it is given up after three; the others are done, and the exit code is 4."""
    top = fresh_folder()
    method = ("--method", f"gradient,{SUBJECT}:ends_workers")
    command = (*CHECK, *method, "--draws", "2", "--max-images", "12", "--gallery", "8")
    os.environ["ENDS_AT"] = "10"
    try:
        with marking(), cluster() as found:
            folder = top / "run"
            driver = Driver(on_ray(command, folder, address=found.address)).start()
            code = driver.ended()
            entry.attempt(code == 4, f"exit code {code}")
            from salsanity.suite.result import Result

            result = Result(folder)
            failed = result.gates["failed_units"]
            entry.attempt(len(failed) == 2, f"{len(failed)} units failed, expected the two draws")
            scored = result.scores["image"].nunique()
            entry.attempt(scored in (4, 8), f"{scored} images have scores, expected one chunk")
    finally:
        del os.environ["ENDS_AT"]
    shutil.rmtree(top)


def interrupted(entry: Entry, *, times: int, number: signal.Signals, draws: int = 24) -> None:
    """A signal to a command that started Ray itself, as Ctrl-C gives it: nothing of Ray's may stay behind."""
    top, chance = fresh_folder(), random.Random(20)
    command = with_draws(PLAIN, draws)
    wanted = serially(command, top / "serial")
    folder, kept = top / "run", {}
    expected = {signal.SIGINT: (130,), signal.SIGKILL: (-9,)}[number]
    longest = 0.0
    for _ in range(times):
        driver = Driver(on_ray(command, folder)).start()
        before = len(list(folder.glob("scores/*.parquet")))
        until_units(folder, before + 1, driver)
        time.sleep(chance.uniform(0, 0.5))
        kept |= whole_units(folder)
        if number is signal.SIGINT:  # as a terminal does: to the whole group
            with suppress(ProcessLookupError):
                os.killpg(driver.process.pid, number)
        else:
            driver.process.send_signal(number)
        code = driver.ended(60)
        finished = code in (0, 1, 3)
        entry.attempt(code in expected or finished, f"exit code {code} after {number.name}")
        began = time.monotonic()
        left = driver.orphans()
        longest = max(longest, time.monotonic() - began)
        if left:
            entry.lose(f"processes stay behind: {left[:3]}")
    code = Driver(on_ray(command, folder)).start().ended()
    entry.tried -= 1
    compare(entry, folder, wanted, kept, "the run in the end")
    entry.remarks.append(f"the last process of Ray's ended after {longest:.0f} s at most")
    shutil.rmtree(top)


def stress(
    ledger: Ledger, *, kills: int = 50, drivers: int = 20, nodes: int = 5, signals: int = 5
) -> None:
    """Try everything so often; nothing, where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        with ledger.entry("Ray") as entry:
            entry.remarks.append("not tried: Ray is not installed")
        return
    with ledger.entry("Ray: SIGKILL to a worker in the middle of a unit") as entry:
        killed_workers(entry, kills=kills)
    with ledger.entry("Ray: a node removed in the middle of a run, another added") as entry:
        lost_nodes(entry, times=nodes)
    with ledger.entry("Ray: SIGKILL to the command, and the command again") as entry:
        killed_drivers(entry, kills=drivers)
    with ledger.entry("Ray: a worker takes more memory than its node has") as entry:
        out_of_memory(entry)
    with ledger.entry("Ray: a unit that ends every worker") as entry:
        poison(entry)
    for number in (signal.SIGINT, signal.SIGKILL):
        with ledger.entry(f"Ray of the command's own: {number.name}, no process left") as entry:
            interrupted(entry, times=signals, number=number)


if __name__ == "__main__":
    found = Ledger()
    stress(found)
    print(found.table())
    sys.exit(bool(found.lost))
