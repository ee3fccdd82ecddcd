from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from synthetic_run import SCRIPT, Recipe, write_cascade

from salsanity.errors import StoreError
from salsanity.records import Outcome
from salsanity.report import notebook_html, read_run, terms, write_report
from salsanity.report.folder import Json, Run
from salsanity.report.html import breakable, render
from salsanity.report.provenance import facts
from salsanity.report.terms import glossary
from salsanity.report.tiles import album, example
from salsanity.report.worst import worst_first

NAMES_A_CHECK = re.compile(
    r"is_labels|\bcascade|_randomization|retained_(?:full|half|permuted)|[\"'](?:labels|permuted|class|shift|repeat|TT|TP)[\"']"
)


class Page(HTMLParser):
    """Collects elements with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.text: list[str] = []
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw else None
        if self._inside:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def text(cascade: Path) -> str:
    return render(read_run(cascade))


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def check_closed(page: Page) -> None:
    """Nothing on the page leads anywhere else, and only our own script can run."""
    handlers = [a for _, attrs in page.elements for a in attrs if a.startswith("on")]
    assert handlers == []
    for _, attrs in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            target = attrs.get(name) or "#"
            assert target.startswith(("#", "data:")), target
        assert "style" not in attrs
    kinds = Counter(attrs.get("type") for attrs in page.all("script"))
    assert kinds[None] == 1
    assert set(kinds) <= {None, "application/json"}
    assert not page.all("iframe") + page.all("object") + page.all("embed") + page.all("form")
    for style in page.raw["style"]:
        assert "url(" not in style
        assert "@import" not in style


def test_the_page_is_closed(page: Page) -> None:
    check_closed(page)


@pytest.mark.parametrize(
    "hole",
    [
        "<img src=x onerror=alert(1)>",
        SCRIPT,
        '<a href="https://example.org">x</a>',
        "<p style='color:red'>",
    ],
)
def test_twin_a_hole_is_noticed(text: str, hole: str) -> None:
    with pytest.raises(AssertionError):
        check_closed(Page(text.replace("</main>", f"{hole}</main>")))


def test_hostile_names_are_shown_as_text(page: Page) -> None:
    text = "".join(page.text)
    assert SCRIPT in text
    assert '"><img src=x onerror=alert(1)>.png' in text
    assert "../../etc/passwd" in text


def test_the_policy_fits_the_page(page: Page) -> None:
    policy = next(
        a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    own = [page.raw["style"][0], page.raw["script"][-1]]
    for text in own:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_sections_stand_in_their_order(page: Page) -> None:
    ids = [a["id"] for a in page.all("section")]
    expected = [
        "verdicts",
        "part1-maps",
        "part1-controls",
        "part1-curves",
        "how",
        "limits",
        "terms",
    ]
    assert ids == expected


def test_every_picture_and_chart_has_words(page: Page) -> None:
    for image in page.all("img"):
        assert "data-still" in image or "data-moving" in image or image["alt"]
    for chart in page.all("svg"):
        assert chart.get("aria-label") or chart.get("aria-hidden") == "true"


def test_every_id_is_unique_and_every_reference_leads_somewhere(page: Page) -> None:
    ids = Counter(a["id"] for _, a in page.elements if "id" in a)
    assert max(ids.values()) == 1
    for _, attrs in page.elements:
        if (attrs.get("href") or "").startswith("#"):
            assert attrs["href"][1:] in ids
        if "aria-describedby" in attrs:
            assert attrs["aria-describedby"] in ids


def test_every_term_is_explained_once(cascade: Path, page: Page) -> None:
    text = "".join(page.text)
    for name, explanation in glossary([p.record for p in read_run(cascade).parts]).items():
        assert explanation in text, name
    assert "50, 70, 80, 90 % noise retains 0.87, 0.68, 0.36" in text


def test_the_limits_are_stated(page: Page) -> None:
    text = " ".join("".join(page.text).split())
    for words in ("falsifies", "does not rank", "Adebayo et al. 2018", "Binder et al. 2023"):
        assert words in text


def test_numbers_of_the_verdicts_are_on_the_page(cascade: Path, page: Page) -> None:
    text = "".join(page.text)
    for verdict in read_run(cascade).parts[0].verdicts:
        if verdict.method == "guided_backprop" and verdict.view:
            for kept in verdict.kept:
                assert f"{kept.retained:.2f}" in text


def check_alarm(text: str) -> None:
    assert "This run cannot be trusted." in text
    assert text.index("This run cannot be trusted.") < text.index('id="verdicts"')


def test_a_failed_control_raises_a_banner_before_the_verdicts(distrusted: Path) -> None:
    check_alarm(render(read_run(distrusted)))


def test_twin_a_trusted_run_has_no_banner(text: str) -> None:
    with pytest.raises(AssertionError):
        check_alarm(text)


def test_a_paper_sized_run_stays_under_5_mebibytes(tmp_path: Path) -> None:
    folder = write_cascade(tmp_path, Recipe(images=8, draws=1, side=64, grain=1.0))
    size = write_report(folder).stat().st_size
    assert size < 5 * 2**20
    assert size > 3_000_000, "maps could be larger than they are"


def test_maps_shrink_before_the_last_images_are_left_out(cascade: Path) -> None:
    (run,) = read_run(cascade).parts
    whole, less, least = (album(run, budget=b) for b in (10**7, 300_000, 40_000))
    assert whole is not None
    assert less is not None
    assert least is not None
    assert whole.size == (28, 28)
    assert (len(whole.pictures), whole.left_out) == (3, 0)
    assert len(less.pictures) <= 3
    assert len(least.pictures) == 1
    assert least.left_out == 2


def test_the_report_is_the_same_every_time_and_leaves_nothing_behind(
    plain: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "run"))
    before = {p.name for p in folder.iterdir()}
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert {p.name for p in folder.iterdir()} == before | {"report.html"}


def test_a_linked_report_is_replaced_not_followed(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "run"))
    outside = tmp_path / "outside.html"
    outside.write_text("mine")
    (folder / "report.html").symlink_to(outside)
    write_report(folder)
    assert outside.read_text() == "mine"
    assert not (folder / "report.html").is_symlink()


def test_a_report_can_go_elsewhere(plain: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    assert write_report(plain, out=target) == target
    assert target.read_text().startswith("<!doctype html>")


def test_a_folder_that_is_no_run_leaves_no_report(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_gallery_or_scores_still_has_a_report(tmp_path: Path) -> None:
    folder = write_cascade(tmp_path, Recipe(stages=("fc",), images=4, gallery=0, side=8))
    shutil.rmtree(folder / "scores")
    for name in ("gates.json", "coverage.json"):
        (folder / name).unlink()
    ids = [a["id"] for a in Page(render(read_run(folder))).all("section")]
    assert ids == ["verdicts", "part1-controls", "how", "limits", "terms"]


def test_checks_of_two_runs_share_a_page(cascade: Path, labels: Path) -> None:
    page = Page(render(read_run(labels), read_run(cascade)))
    ids = [a["id"] for a in page.all("section")]
    assert ids == [
        *("card", "verdicts", "part1-maps", "part1-controls", "part1-bars"),
        *("part2-verdicts", "part2-maps", "part2-controls", "part2-curves"),
        *("how", "limits", "terms"),
    ]
    check_closed(page)
    assert not re.search("part3", "".join(page.text))


def test_every_check_of_a_run_has_its_section_and_the_card_comes_first(several: Path) -> None:
    run = read_run(several)
    text = render(run)
    page = Page(text)
    ids = [a["id"] for a in page.all("section")]
    assert ids[:2] == ["card", "verdicts"]
    assert {"part2-verdicts", "part2-bars", "part3-controls"} <= set(ids)
    check_closed(page)
    seen = " ".join("".join(page.text).split())
    for part in run.parts:
        assert part.record.words.question in seen
        assert f"It matters for {part.record.words.use}." in seen


def test_no_template_and_no_module_names_a_check() -> None:
    home = Path(terms.__file__).parent
    files = [f for f in home.rglob("*") if f.suffix in (".py", ".j2", ".js", ".css")]
    assert len(files) > 20
    for path in files:
        assert not NAMES_A_CHECK.findall(path.read_text(encoding="utf-8")), path


def test_twin_a_named_check_is_noticed() -> None:
    for line in ('if part.record.name == "cascade":', "is_labels", "retained_full", '"permuted"'):
        assert NAMES_A_CHECK.findall(line)


def test_what_must_stay_is_drawn_and_worded_the_other_way(several: Path) -> None:
    cascade, _, moved = (
        Page(render(replace(read_run(several), parts=(part,)))) for part in read_run(several).parts
    )
    said = " ".join("".join(moved.text).split())
    assert "at least 0.9" in said
    assert "FAIL where less than 0.9 is kept" in said
    assert "an edge detector, which sees no network, passes too" in said
    assert all(float(r["x"]) == 0.0 for r in moved.all("rect") if r.get("class") == "wrong")
    assert all(float(r["x"]) > 50.0 for r in cascade.all("rect") if r.get("class") == "wrong")
    assert "at least" not in "".join(cascade.text).replace("at least one", "")


def test_beside_every_pass_stands_that_noise_passes_too(cascade: Path, text: str) -> None:
    (part,) = read_run(cascade).parts
    passed = [m for m in part.methods if part.headlines[m].outcome is Outcome.PASS]
    assert text.count('<span class="praise">pure noise passes too</span>') == len(passed) > 0


def test_rows_stand_worst_first(cascade: Path, text: str) -> None:
    (part,) = read_run(cascade).parts
    table = text[text.index('<table class="verdicts rows">') : text.index("Every cell")]
    table = table.replace("<wbr>", "")
    places = [table.index(f"<b>{part.names[m]}</b>") for m in worst_first(part)]
    assert places == sorted(places)


def test_shares_of_blank_maps_stand_where_r_is(text: str) -> None:
    assert "blank 20 %, before 0 %" in text


def test_the_head_shows_the_worst_method_and_one_that_was_not_caught(cascade: Path) -> None:
    (part,) = read_run(cascade).parts
    shown = example(part)
    assert shown is not None
    assert [row.outcome for row in shown.rows] == [Outcome.FAIL, Outcome.PASS]
    assert shown.rows[0].method == worst_first(part)[0]
    assert all(
        uri.startswith("data:image/png") for row in shown.rows for uri in (row.before, row.after)
    )
    assert example(replace(part, gallery=())) is None


def test_what_cannot_pass_is_said(cascade: Path) -> None:
    run = read_run(cascade)
    (part,) = run.parts
    record = replace(part.record, never_pass="only half of the weights were reached")
    text = render(replace(run, parts=(replace(part, record=record),)))
    assert "No method can PASS in this run:</strong> only half" in text


def test_a_network_is_named_without_its_folder(plain: Path) -> None:
    run = read_run(plain)
    (part,) = run.parts
    spec = dict(part.spec) | {"model": {"name": "/people/someone/nets.py:Net"}}
    text = render(replace(run, spec=spec, parts=(replace(part, spec=spec),)))
    assert "on Net:" in text
    assert "/people/someone" not in text[: text.index("The whole specification")]


def test_flat_and_missing_maps_are_named(plain: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(plain, tmp_path / "run"))
    path = read_run(folder).parts[0].gallery[0].path
    with safe_open(path, framework="np") as file:
        about = file.metadata()
        kept = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    kept["maps/gradient/trained"] = np.zeros_like(kept["maps/gradient/trained"])
    del kept["maps/gradient/conv"]
    save_file(kept, path, metadata=about)
    text = render(read_run(folder))
    assert text.count(">flat</span>") == 2  # one for each view
    assert text.count(">none</span>") == 2


def test_an_interval_beyond_the_scale_is_marked(plain: Path) -> None:
    run = read_run(plain)
    (part,) = run.parts
    wide = tuple(
        replace(v, kept=tuple(replace(k, retained_ci=(-0.5, 1.5)) for k in v.kept))
        for v in part.verdicts
    )
    assert 'class="more"' not in render(run)
    changed = replace(run, parts=(replace(part, verdicts=wide),))
    assert "goes on beyond the scale" in render(changed)


def test_the_notebook_summary_is_escaped(cascade: Path, distrusted: Path) -> None:
    fragment = notebook_html(read_run(cascade))
    assert SCRIPT not in fragment
    assert "&lt;script&gt;" in fragment
    assert fragment.count("<tr>") == 11 + 3  # verdicts, and two methods' maps
    assert fragment.count("pure noise passes too: ") == 6
    assert "cannot be trusted" in notebook_html(read_run(distrusted))


def with_notes(run: Run, *notes: str) -> Run:
    spec = dict(run.spec) | {"settings": {**run.spec["settings"], "notes": list(notes)}}
    parts = tuple(replace(part, spec=spec) for part in run.parts)
    return replace(run, spec=spec, parts=parts)


def test_notes_stand_under_how_it_was_run_and_warnings_at_the_head_too(plain: Path) -> None:
    run = read_run(plain)
    text = render(with_notes(run, "Warning: no weights <were> given.", "Initialiser he (asked)."))
    head, how = text[: text.index("<main>")], text[text.index('id="how"') :]
    assert "<b>Warning:</b> No weights &lt;were&gt; given.</p>" in head
    assert "Initialiser he (asked)." not in head
    for note in ("<li>Warning: no weights &lt;were&gt; given.</li>", "<li>Initialiser he (asked)."):
        assert note in how[: how.index("<details>")]
    assert head.index('class="answer"') < head.index('class="warned"') < head.index('class="tally"')


def test_twin_a_run_without_warnings_has_no_box(plain: Path) -> None:
    run = read_run(plain)
    assert 'class="warned"' not in render(with_notes(run, "Initialiser he (asked)."))
    assert "Notes of the run" not in render(run)


def test_a_warning_of_a_run_that_is_only_compared_is_shown(plain: Path) -> None:
    run = read_run(plain)
    assert "<b>Warning:</b> Odd.</p>" in render(run, with_notes(run, "Warning: odd."))


def test_what_batchnorm_does_is_left_out_where_there_is_none(plain: Path) -> None:
    run = read_run(plain)
    (part,) = run.parts
    rows = tuple(row for row in part.coverage if row["kind"] == "parameter")
    assert len(rows) < len(part.coverage)

    def names(coverage: tuple[Json, ...]) -> set[str]:
        return {fact.name for fact in facts(replace(part, coverage=coverage))}

    assert "BatchNorm statistics" not in names(rows)
    assert "BatchNorm statistics" in names(part.coverage)
    assert "BatchNorm statistics" in names(())


def test_a_long_name_breaks_at_its_joints(plain: Path) -> None:
    run = read_run(plain)
    (part,) = run.parts
    names = {m: "explainers.py:grad_squared" if m == "gradient" else m for m in part.methods}
    assert breakable(names["gradient"]) == "explainers.py:<wbr>grad_<wbr>squared"
    text = render(run)
    assert text.count("Input × gradient</th>") > 0
    assert breakable("<b>_x") == "&lt;b&gt;_<wbr>x"


def test_the_line_between_stages_is_explained_by_its_name(cascade: Path, labels: Path) -> None:
    seen = " ".join("".join(Page(render(read_run(cascade))).text).split())
    assert "(a thin grey line marks the stage of half)" in seen
    assert "a thin grey line" not in render(read_run(labels))


def test_the_foot_names_the_version_that_ran(text: str) -> None:
    assert "Written by salsanity 0.1.0. This page" in text


def test_a_measurement_without_a_verdict_draws_no_line_and_demands_nothing(several: Path) -> None:
    run = read_run(several)
    part = run.parts[1]
    record = replace(part.record, test="statistic")
    mute = tuple(replace(v, outcome=Outcome.UNINFORMATIVE) for v in part.verdicts)
    measured = replace(run, parts=(replace(part, record=record, verdicts=mute),))
    text = render(measured)
    assert "10 were measured, without a verdict" in text
    assert 'class="wrong"' not in text
    assert 'class="limit"' not in text
    assert "FAIL where" not in text
    assert "a measurement without a verdict" in text
    assert 'class="wrong"' in render(replace(run, parts=(part,)))


def test_a_p_value_stands_beside_what_is_kept(cascade: Path) -> None:
    run = read_run(cascade)
    (part,) = run.parts
    tested = tuple(replace(v, p=0.15) for v in part.verdicts)
    assert "p = 0.15" in render(replace(run, parts=(replace(part, verdicts=tested),)))
    assert "p = 0" not in render(run)
