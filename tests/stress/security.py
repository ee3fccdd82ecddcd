"""Hostile files and names: nothing in them is executed, followed or shown as markup."""

from __future__ import annotations

import ast
import os
import pickle
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

from attempts import SUBJECT, command, fresh_folder
from bad_files import NAMES, Bomb, picture
from ledger import Entry, Ledger
from runs import CHECK, LABELS, warm

SOURCES = Path(__file__).resolve().parents[2] / "src"


COMMANDS = {"check": CHECK, "labels": LABELS}


def pickles(
    entry: Entry,
    top: Path,
    *,
    commands: Mapping[str, Sequence[str]] = COMMANDS,
    protocols: Sequence[int] = (0, 2, 5),
) -> None:
    """Put a pickle with code in place of each kind of file of a finished run, in turn, and run and report again."""
    for name, arguments in commands.items():
        folder = top / name
        warm(arguments, folder)
        files = sorted(folder.glob("*.json"))
        files += [
            sorted((folder / kind).glob("*"))[0]
            for kind in ("scores", "gallery", "networks")
            if (folder / kind).exists()
        ]
        for path in files:
            for protocol in protocols:
                whole, target = path.read_bytes(), top / "exploded"
                path.write_bytes(pickle.dumps(Bomb(target), protocol=protocol))
                told = _reported(folder)
                again = command([*arguments, "--out", str(folder)], folder, {})
                proper = (
                    "Traceback (most" not in again.err and "Unexpected" not in again.err and told
                )
                entry.attempt(not target.exists() and proper, f"{path.name}: {again.err[-200:]}")
                path.write_bytes(whole)
                (folder / "spec.json.damaged").unlink(missing_ok=True)


def _reported(folder: Path) -> bool:
    """Whether the report is written, or refused in one sentence."""
    from salsanity.errors import SalsanityError
    from salsanity.report import write_report

    try:
        write_report(folder)
    except SalsanityError:
        return True
    except Exception as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return False
    return True


PLACES = (
    *(
        "scores",
        "gallery",
        "figures",
        "networks",
        ".lock",
        "errors.log",
        "spec.json",
        "verdicts.json",
        "gates.json",
    ),
    *("coverage.json", "report.html", "figures/.curves-signed-spearman.png.part"),
)


def links(entry: Entry, top: Path, *, names: Sequence[str] = PLACES) -> None:
    """Make every file and folder of a run a link that leads out; nothing outside may change."""
    top.mkdir()
    for name in names:
        for kind in ("file", "folder"):
            outside, folder = (
                top / f"outside {kind} {name.replace('/', ' ')}",
                top / f"run {kind} {name.replace('/', ' ')}",
            )
            _made(outside, kind)
            (folder / name).parent.mkdir(parents=True)
            (folder / name).symlink_to(outside)
            before = _state(outside)
            answer = command(
                [*CHECK, "--method", f"{SUBJECT}:raises_now_and_then", "--out", str(folder)],
                folder,
                {},
            )
            is_proper = "Traceback (most" not in answer.err and "Unexpected" not in answer.err
            entry.attempt(
                _state(outside) == before, f"{name} as a link to a {kind}: written outside"
            )
            entry.attempt(is_proper, f"{name} as a link to a {kind}: {answer.err[-300:]}")


def _made(outside: Path, kind: str) -> None:
    if kind == "folder":
        outside.mkdir()
        (outside / "kept").write_text("mine")
    else:
        outside.write_text("mine")


def _state(outside: Path) -> list[tuple[str, bytes]]:
    paths = sorted(outside.rglob("*")) if outside.is_dir() else [outside]
    return [(p.name, p.read_bytes()) for p in paths]


class Page(HTMLParser):
    """Collects what could run code in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.dangers: list[str] = []
        self.scripts = 0
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script" and ("type", "application/json") not in attrs
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policy = dict(attrs).get("content") or ""
        for name, value in attrs:
            text = (value or "").strip().lower()
            is_call = name.startswith("on") or text.startswith(
                ("javascript:", "vbscript:", "data:text")
            )
            outside = name in ("src", "href", "action") and text.startswith(("http:", "//"))
            if is_call or outside or tag in ("iframe", "object", "embed", "base", "form"):
                self.dangers.append(f"<{tag} {name}={value!r}>")


def page(entry: Entry, top: Path) -> None:
    """Report on a run whose image, class, method and network names are markup; look for anything that could run."""
    from runs import here

    folder, images = top / "markup", top / "images"
    for k, name in enumerate(NAMES):
        place = Path(
            os.fsdecode(
                os.fsencode(images) + b"/" + NAMES[-1 - k].removesuffix(b".png").strip(b".") + b"c"
            )
        )
        place.mkdir(parents=True, exist_ok=True)
        Path(os.fsdecode(os.fsencode(place) + b"/" + name)).write_bytes(picture(side=20 + k))
    user = top / "<img src=x onerror=alert>.py"
    shutil.copy(SUBJECT, user)
    code = here(
        [
            *(
                "check",
                "--model",
                f"{user}:honest",
                "--images",
                str(images),
                "--size",
                "16",
                "--draws",
                "2",
            ),
            *(
                "--max-images",
                "24",
                "--gallery",
                "24",
                "--samples",
                "1",
                "--steps",
                "1",
                "--similarity",
                "spearman",
            ),
            *(
                "--method",
                f"gradient,{user}:plain_gradient,{user}:raises_now_and_then",
                "--out",
                str(folder),
            ),
        ],
        figures=True,
    )
    entry.attempt(code in (0, 1, 3, 4), f"exit code {code}")
    found = Page()
    text = (folder / "report.html").read_text("utf-8")
    found.feed(text)
    entry.attempt(not found.dangers, f"in report.html: {found.dangers[:3]}")
    entry.attempt(found.scripts <= 1, f"{found.scripts} scripts in report.html")
    entry.attempt(
        "script-src 'sha256-" in found.policy, "no content security policy in report.html"
    )
    inside = [p for p in folder.rglob("*") if not p.resolve().is_relative_to(folder.resolve())]
    entry.attempt(not inside, f"files outside the folder: {inside}")
    entry.remarks.append(f"{len(NAMES)} names in a page of {len(text) // 1024} KiB")


FORBIDDEN = {"eval", "exec", "compile", "__import__"}
CALLS = {
    ("pickle", "load"),
    ("pickle", "loads"),
    ("yaml", "load"),
    ("os", "system"),
    ("marshal", "loads"),
}


KNOWN = {
    "units/parcel.py": "loads",  # what the process that runs a job hands to its own workers; never a file
    "units/origins.py": "compile",  # a module's text, to read its constants; it is not run
    "testing/elsewhere.py": "loads",  # what a contract asks the process that it has started
    "testing/checks.py": "loads",  # what a contract has just written
    "testing/executors.py": "loads",
}
"""The one kind of such a call that a file may have, and why."""


def calls(entry: Entry) -> None:
    """Look in every source file for calls that run what they are given, and for torch.load without weights_only."""
    for path in sorted(SOURCES.rglob("*.py")):
        known = KNOWN.get("/".join(path.parts[-2:]))
        bad = [
            f"line {node.lineno}"
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if _is_forbidden(node) and _called(node) != known
        ]
        entry.attempt(not bad, f"{path.name}: {', '.join(bad)}")


def _called(node: ast.AST) -> str:
    function = node.func if isinstance(node, ast.Call) else node
    return str(getattr(function, "id", getattr(function, "attr", "")))


def _is_forbidden(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id in FORBIDDEN
    if not isinstance(node.func, ast.Attribute) or not isinstance(node.func.value, ast.Name):
        return False
    named = (node.func.value.id, node.func.attr)
    told = {k.arg: k.value for k in node.keywords}
    weights_only = told.get("weights_only")
    unsafe_load = named == ("torch", "load") and not (
        isinstance(weights_only, ast.Constant) and weights_only.value is True
    )
    return named in CALLS or unsafe_load or "shell" in told


def unasked_code(entry: Entry, top: Path) -> None:
    """Python files in the folders that are read, and in the working directory, are not executed."""
    images, work = top / "with code", top / "work"
    images.mkdir()
    work.mkdir()
    for k in range(3):
        (images / f"{k}.png").write_bytes(picture(side=20 + k))
    for folder in (images, work):
        for name in (
            "conftest",
            "sitecustomize",
            "torch",
            "json",
            "salsanity",
            "__init__",
            "numpy",
            "PIL",
        ):
            (folder / f"{name}.py").write_text(f"open({str(top / 'ran')!r}, 'w')\n")
    script = Path(sys.executable).with_name("salsanity")
    arguments = ["check", "--model", f"{SUBJECT}:honest", "--images", str(images), "--size", "16", "--draws", "1",
                 "--method", "gradient", "--max-images", "2", "--gallery", "0", "--out", str(top / "out")]  # fmt: skip
    done = subprocess.run(
        [str(script), *arguments], cwd=work, capture_output=True, text=True, check=False
    )
    entry.attempt(
        done.returncode in (0, 1, 3, 4), f"exit code {done.returncode}: {done.stderr[-300:]}"
    )
    entry.attempt(not (top / "ran").exists(), "a file that nobody named was executed")


def private(entry: Entry, top: Path) -> None:
    """Files that are being written belong to their user alone."""
    from salsanity.store.directory import replacing

    with replacing(top / "x") as temporary:
        entry.attempt(
            stat.S_IMODE(temporary.stat().st_mode) == 0o600, "a temporary file is not private"
        )


def downloads(entry: Entry) -> None:
    """Every file that can be fetched comes over https and has a checksum."""
    from salsanity.data.fetch import REMOTES

    for remote in (r for family in REMOTES.values() for r in family.values()):
        is_safe = remote.url.startswith("https://") and len(remote.checksum.partition(":")[2]) >= 32
        entry.attempt(is_safe, f"{remote.name}: {remote.url}")


def scanners(entry: Entry) -> None:
    """Run bandit on the sources, and pip-audit where it and its service can be reached."""
    for tool, arguments in (
        ("bandit", ["-q", "-c", str(SOURCES.parent / "pyproject.toml"), "-r", str(SOURCES)]),
        ("pip_audit", ["--progress-spinner", "off"]),
    ):
        done = subprocess.run(
            [sys.executable, "-m", tool, *arguments], capture_output=True, text=True, check=False
        )
        if "No module named" in done.stderr or "ConnectionError" in done.stderr:
            entry.remarks.append(f"{tool} is not to be had here")
            continue
        if tool == "pip_audit":
            entry.remarks.append(
                f"pip-audit: {(done.stderr or done.stdout).strip().splitlines()[-1][:100]}"
            )
            continue
        entry.attempt(done.returncode == 0, f"{tool}: {done.stdout[-500:]}")


def stress(ledger: Ledger) -> None:
    """Try all of it."""
    top = fresh_folder()
    with ledger.entry("a pickle with code in place of each file of a run") as entry:
        (top / "pickles").mkdir()
        pickles(entry, top / "pickles")
    with ledger.entry("links that lead out in place of each part of a run folder") as entry:
        links(entry, top / "links")
    with ledger.entry("markup in names of images, classes, methods and networks") as entry:
        page(entry, top)
    with ledger.entry("source files without eval, exec, pickle.load, shells") as entry:
        calls(entry)
    with ledger.entry("code that nobody named; private files; downloads; scanners") as entry:
        unasked_code(entry, top)
        private(entry, top)
        downloads(entry)
        scanners(entry)
    shutil.rmtree(top)


if __name__ == "__main__":
    found = Ledger()
    stress(found)
    print(found.table())
    sys.exit(bool(found.lost))
