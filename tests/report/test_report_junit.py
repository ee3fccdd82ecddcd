"""JUnit XML: what CI systems read of a run, well-formed whatever the names are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salsanity.errors import UsageError
from salsanity.records import Outcome, Verdict
from salsanity.report import read_run, write_junit
from salsanity.report.folder import Run
from salsanity.report.junit import GATES, junit_xml, legal
from salsanity.rows import Rows

NASTY = "a<b>&\"'\x00\x1b[31m\ud800 ü 画 ]]>"

ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "property": {"name", "value"},
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
    "error": {"message", "type"},
    "skipped": {"message"},
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out"},
    "properties": {"property"},
    "testcase": {"failure", "error", "skipped"},
}
"""What the schema that Jenkins and others publish allows, cut to what is written here."""


def check_schema(root: ET.Element) -> None:
    """Elements, attributes and counts are those of the common JUnit schema."""
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.attrib) == ATTRIBUTES.get(element.tag, set()), element.tag
        assert {child.tag for child in element} <= CHILDREN.get(element.tag, set()), element.tag
    for suite in root:
        assert [child.tag for child in suite] == sorted(
            (child.tag for child in suite), key=["properties", "testcase", "system-out"].index
        )
        assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
    for where in (root, *root):
        cases = list(where.iter("testcase"))
        assert all(len(case) <= 1 for case in cases)
        assert int(where.attrib["tests"]) == len(cases)
        for plural, tag in (("failures", "failure"), ("errors", "error")):
            assert int(where.attrib[plural]) == len(list(where.iter(tag)))
        assert float(where.attrib["time"]) == pytest.approx(
            sum(float(c.attrib["time"]) for c in cases)
        )


def parsed(run: Run) -> ET.Element:
    root = ET.fromstring(junit_xml(run))
    check_schema(root)
    return root


def kinds(root: ET.Element) -> dict[str, str | None]:
    return {
        case.attrib["name"]: (case[0].tag if len(case) else None) for case in root.iter("testcase")
    }


def with_headlines(run: Run, **outcomes: Outcome) -> Run:
    """The run with these verdicts instead of its own."""
    headlines = (
        Verdict("c", name, None, None, outcome, f"because {NASTY}")
        for name, outcome in outcomes.items()
    )
    (part,) = run.parts
    spec = {**run.spec, "methods": list(outcomes)}
    controls = [v for v in part.verdicts if v.method in part.controls]
    return with_part(run, spec=spec, verdicts=(*headlines, *controls))


def with_part(run: Run, **changes: object) -> Run:
    """The run with its one part changed."""
    return replace(run, parts=(replace(run.parts[0], **changes),))


def test_each_verdict_has_its_kind(plain: Path) -> None:
    run = with_headlines(
        read_run(plain),
        a=Outcome.PASS,
        b=Outcome.FAIL,
        c=Outcome.INCONCLUSIVE,
        d=Outcome.UNINFORMATIVE,
    )
    root = parsed(run)
    assert kinds(root) == {GATES: None, "a": None, "b": "failure", "c": "skipped", "d": "skipped"}
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.attrib["type"] == "FAIL"
    assert failure.attrib["message"].startswith("FAIL: because a<b>&")
    for skipped in root.iter("skipped"):
        assert "because" in skipped.attrib["message"]


def test_an_untrusted_run_is_all_errors(distrusted: Path) -> None:
    run = read_run(distrusted)
    root = parsed(run)
    assert set(kinds(root).values()) == {"error"}
    gates = next(case for case in root.iter("testcase") if case.attrib["name"] == GATES)
    assert "edge" in gates[0].attrib["message"].lower()


def test_a_method_without_a_verdict_is_an_error(plain: Path) -> None:
    run = read_run(plain)
    run = with_part(run, spec={**run.spec, "methods": ["never_ran"]})
    assert kinds(parsed(run))["never_ran"] == "error"


def test_both_tests_and_hostile_names_are_well_formed(cascade: Path, labels: Path) -> None:
    for folder in (cascade, labels):
        run = read_run(folder)
        assert set(kinds(parsed(run))) == {GATES, *run.methods}


def test_every_method_has_a_case_in_every_check(several: Path) -> None:
    run = read_run(several)
    root = parsed(run)
    assert [suite.attrib["name"] for suite in root] == [
        "salsanity.cascade",
        "salsanity.turned",
        "salsanity.moved",
    ]
    for suite, part in zip(root, run.parts, strict=True):
        named = [case.attrib["name"] for case in suite.iter("testcase")]
        assert [name for name in named if name != GATES] == list(part.methods)
        failed = {c.attrib["name"] for c in suite.iter("testcase") if c.find("failure") is not None}
        assert failed == {m for m in part.methods if part.headlines[m].outcome is Outcome.FAIL}
    assert [case.attrib["name"] for case in root.iter("testcase")].count(GATES) == 1


def test_an_explainer_that_raised_everywhere_is_an_error(plain: Path) -> None:
    run = read_run(plain)
    (part,) = run.parts
    rows = part.scores["method"] == "vargrad"
    said = f"vargrad raised ImportError: {NASTY}"
    scores = part.scores.assign(
        value=part.scores["value"].mask(rows),
        reason=part.scores["reason"].astype(object).mask(rows, said),
    )
    verdicts = tuple(
        replace(v, outcome=Outcome.UNINFORMATIVE, kept=()) if v.method == "vargrad" else v
        for v in part.verdicts
    )
    assert kinds(parsed(with_part(run, verdicts=verdicts)))["vargrad"] == "skipped"
    root = parsed(with_part(run, verdicts=verdicts, rows=Rows.of(scores)))
    assert kinds(root)["vargrad"] == "error"
    (error,) = root.iter("error")
    assert error.attrib["type"] == "broken explainer"
    assert "raised ImportError" in error.attrib["message"]


def test_controls_and_the_report_are_properties(plain: Path) -> None:
    found = {p.attrib["name"]: p.attrib["value"] for p in parsed(read_run(plain)).iter("property")}
    assert found["control.edge"] == "FAIL"
    assert found["report"].endswith("report.html")
    assert found["trusted"] == "true"


def test_twin_wrong_counts_and_attributes_are_noticed(plain: Path) -> None:
    for attribute, value in (("tests", "99"), ("failures", "99"), ("colour", "red")):
        root = ET.fromstring(junit_xml(read_run(plain)))
        root[0].set(attribute, value)
        with pytest.raises(AssertionError):
            check_schema(root)


@given(st.text())
def test_any_text_can_be_written_and_read(text: str) -> None:
    element = ET.Element("e", {"a": legal(text)})
    read = ET.fromstring(ET.tostring(element, encoding="utf-8")).attrib["a"]
    assert read == legal(text)


def test_twin_control_characters_are_why() -> None:
    with pytest.raises(ET.ParseError):
        ET.fromstring(ET.tostring(ET.Element("e", {"a": "\x1b"})))


def test_the_file_is_written_whole_with_its_folders(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "junit.xml"
    write_junit(read_run(plain), path)
    check_schema(ET.parse(path).getroot())
    assert [p.name for p in path.parent.iterdir()] == ["junit.xml"]


def test_a_place_that_cannot_be_written_is_said(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="JUnit"):
        write_junit(read_run(plain), tmp_path / "file" / "junit.xml")
