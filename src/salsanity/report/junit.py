"""The verdicts as JUnit XML, which CI systems show as tests: one test case per method, one for the gates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET  # only to write  # nosec B405

from salsanity.errors import StoreError, UsageError
from salsanity.records import Outcome, Verdict
from salsanity.report.folder import Run
from salsanity.report.summary import distrust
from salsanity.report.tables import plain_table
from salsanity.store.directory import replacing

GATES: Final = "controls and gates"
"""The test case that says whether the run can be trusted at all."""

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
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(junit_xml(run))
    except (OSError, StoreError) as error:
        raise UsageError(
            f"expected to write JUnit XML to {path}, but: {error} (the verdicts are in {run.folder})"
        ) from error


def junit_xml(run: Run) -> bytes:
    """Return the verdicts of a run as a JUnit document in UTF-8.

    FAIL is a failure; INCONCLUSIVE and UNINFORMATIVE are skipped, with the reason. In a run that cannot be trusted every
    method is an error, whatever its verdict. All of the run's time stands with the gates: methods share their passes.
    """
    cases = [_gates(run), *(_method(run, name) for name in run.methods)]
    counts = Counter(case.kind for case in cases)
    seconds = f"{sum(case.seconds for case in cases):.3f}"
    totals = {
        "tests": str(len(cases)),
        "failures": str(counts["failure"]),
        "errors": str(counts["error"]),
        "time": seconds,
    }
    root = ET.Element("testsuites", {"name": "salsanity", **totals})
    about = {"name": f"salsanity.{run.spec['check']}", "skipped": str(counts["skipped"])}
    suite = ET.SubElement(root, "testsuite", {**about, **totals})
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(run).items():
        ET.SubElement(properties, "property", {"name": legal(name), "value": legal(value)})
    for case in cases:
        _add(suite, case, f"salsanity.{run.spec['check']}.{run.model_name}")
    ET.SubElement(suite, "system-out").text = legal(plain_table(run))
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def legal(text: object) -> str:
    """Replace what XML 1.0 cannot hold: control characters and lone surrogates."""
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def _gates(run: Run) -> _Case:
    seconds = float((run.gates.get("time") or {}).get("seconds") or 0.0)
    if run.trusted:
        return _Case(GATES, seconds=seconds)
    return _Case(GATES, "error", "untrusted", "; ".join(distrust(run)), seconds)


def _method(run: Run, name: str) -> _Case:
    headline = run.headlines.get(name)
    if headline is None:
        return _Case(name, "error", "not judged", "the run holds no verdict of this method")
    if not run.trusted:
        words = f"the run cannot be trusted (see {GATES}); its verdict was {_words(headline)}"
        return _Case(name, "error", "untrusted", words)
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


def _properties(run: Run) -> dict[str, str]:
    controls = {
        f"control.{name}": headline.outcome.value
        for name in run.controls
        if (headline := run.headlines.get(name)) is not None
    }
    return {
        "model": run.model_name,
        "fingerprint": str(run.spec["model"].get("fingerprint", "")),
        "report": str(run.folder / "report.html"),
        "trusted": str(run.trusted).lower(),
        **controls,
    }
