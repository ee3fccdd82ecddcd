"""The verdicts as JUnit XML, which CI systems show as tests: a case per method and check, one for the gates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET  # only to write  # nosec B405

from salsanity.errors import StoreError, UsageError
from salsanity.records import Outcome, Verdict
from salsanity.report.folder import Part, Run
from salsanity.report.summary import distrust
from salsanity.report.tables import plain_table
from salsanity.store.directory import replacing

GATES: Final = "controls and gates"
"""The test case that says whether the run can be trusted at all."""

ENDED: Final = "the run"
"""The test case of a run that ended in an error."""

KINDS: Final[Mapping[Outcome, str | None]] = {
    Outcome.PASS: None,
    Outcome.FAIL: "failure",
    Outcome.INCONCLUSIVE: "skipped",
    Outcome.UNINFORMATIVE: "skipped",
}

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


@dataclass(frozen=True)
class _Case:
    """A test case; `kind` None is success, else the name of the element that says what it is."""

    name: str
    kind: str | None = None
    type: str = ""
    message: str = ""
    seconds: float = 0.0


def write_junit(run: Run, path: Path) -> None:
    """Write the verdicts of a run to `path`, whole or not at all; `UsageError` where that is impossible."""
    _write(junit_xml(run), path, f" (the verdicts are in {run.folder})")


def write_junit_of_error(error: BaseException, path: Path) -> None:
    """Write to `path` that a run ended in an error and gave no verdict: one test case, which is an error."""
    words = " ".join(str(error).split()) or "interrupted"
    case = _Case(ENDED, "error", type(error).__name__, words)
    totals = _totals([case])
    del totals["skipped"]
    root = ET.Element("testsuites", {"name": "salsanity", **totals})
    suite = ET.SubElement(root, "testsuite", {"name": "salsanity", **_totals([case])})
    _add(suite, case, "salsanity")
    ET.indent(root)
    _write(bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)), path, "")


def _write(document: bytes, path: Path, hint: str) -> None:
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(document)
    except (OSError, StoreError) as error:
        raise UsageError(f"expected to write JUnit XML to {path}, but: {error}{hint}") from error


def junit_xml(run: Run) -> bytes:
    """Return the verdicts of a run as a JUnit document in UTF-8, a suite for each check.

    FAIL is a failure; INCONCLUSIVE and UNINFORMATIVE are skipped, with the reason. A method whose explainer raised everywhere
    is an error, and in a run that cannot be trusted every method is, whatever its verdict. All of the run's time stands with
    the gates, in the first suite: methods share their passes.
    """
    suites = [(part, [_method(part, name) for name in part.methods]) for part in run.parts]
    suites[0][1].insert(0, _gates(run))
    totals = _totals([case for _, cases in suites for case in cases])
    del totals["skipped"]  # no attribute of this element in the common schema
    root = ET.Element("testsuites", {"name": "salsanity", **totals})
    for part, cases in suites:
        _add_suite(root, run, part, cases)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _totals(cases: Sequence[_Case]) -> dict[str, str]:
    counts = Counter(case.kind for case in cases)
    return {
        "tests": str(len(cases)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "skipped": str(counts["skipped"]),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }


def _add_suite(root: ET.Element, run: Run, part: Part, cases: Sequence[_Case]) -> None:
    name = f"salsanity.{part.record.name}"
    suite = ET.SubElement(root, "testsuite", {"name": legal(name), **_totals(cases)})
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(run, part).items():
        ET.SubElement(properties, "property", {"name": legal(key), "value": legal(value)})
    for case in cases:
        _add(suite, case, f"{name}.{part.model_name}")
    ET.SubElement(suite, "system-out").text = legal(plain_table(part))


def legal(text: object) -> str:
    """Replace what XML 1.0 cannot hold: control characters and lone surrogates."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _gates(run: Run) -> _Case:
    seconds = float((run.gates.get("time") or {}).get("seconds") or 0.0)
    if run.trusted:
        return _Case(GATES, seconds=seconds)
    return _Case(GATES, "error", "untrusted", "; ".join(distrust(run)), seconds)


def _method(part: Part, name: str) -> _Case:
    headline = part.headlines.get(name)
    if headline is None:
        return _Case(name, "error", "not judged", "the run holds no verdict of this method")
    if not part.trusted:
        words = f"the run cannot be trusted (see {GATES}); its verdict was {_words(headline)}"
        return _Case(name, "error", "untrusted", words)
    if name in part.broken:
        words = f"the explainer gave no map at all: {part.broken[name]}"
        return _Case(name, "error", "broken explainer", words)
    return _Case(name, KINDS[headline.outcome], headline.outcome.value, _words(headline))


def _words(headline: Verdict) -> str:
    return f"{headline.outcome}: {headline.reason}"


def _add(suite: ET.Element, case: _Case, classname: str) -> None:
    attributes = {
        "classname": legal(classname),
        "name": legal(case.name),
        "time": f"{case.seconds:.3f}",
    }
    element = ET.SubElement(suite, "testcase", attributes)
    if case.kind == "skipped":
        ET.SubElement(element, "skipped", {"message": legal(case.message)})
    elif case.kind is not None:
        about = {"message": legal(case.message), "type": case.type}
        ET.SubElement(element, case.kind, about).text = legal(case.message)


def _properties(run: Run, part: Part) -> dict[str, str]:
    controls = {
        f"control.{name}": headline.outcome.value
        for name in part.controls
        if (headline := part.headlines.get(name)) is not None
    }
    return {
        "model": part.model_name,
        "fingerprint": str(part.spec["model"].get("fingerprint", "")),
        "report": str(run.folder / "report.html"),
        "trusted": str(run.trusted).lower(),
        **controls,
    }
