"""The page in a real browser: switches, slider, terms, hostile names, gross faults of layout."""

from __future__ import annotations

import base64
import importlib.util
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from synthetic_run import Recipe, write_cascade

from salsanity.report import read_run, write_card, write_report

selenium = pytest.importorskip("selenium", reason="selenium is not installed")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --no-first-run "
    "--disable-component-update --disable-sync --hide-scrollbars"
)
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(
    cascade: Path,
    labels: Path,
    distrusted: Path,
    several: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    out = tmp_path_factory.mktemp("pages")
    made = {
        "cascade": write_report(cascade, out / "cascade.html"),
        "both": write_report(cascade, out / "both.html", labels),
        "compared": write_report(cascade, out / "compared.html", distrusted),
        "several": write_report(several, out / "several.html"),
        "card": write_card([several], out / "card.html"),
    }
    return {name: path.as_uri() for name, path in made.items()}


def resize(browser: webdriver.Chrome, width: int, height: int, **media: str) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": k.replace("_", "-"), "value": v} for k, v in media.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.fixture
def page(browser: webdriver.Chrome, pages: dict[str, str]) -> webdriver.Chrome:
    resize(browser, *SIZES["desktop"])
    browser.get(pages["cascade"])
    return browser


def one(page: webdriver.Chrome, what: str) -> Any:
    return page.find_element(By.CSS_SELECTOR, what)


def choose(page: webdriver.Chrome, name: str, value: str) -> None:
    one(page, f'input[name="{name}"][value="{value}"] + span').click()


def shown_grid(page: webdriver.Chrome) -> str:
    visible = "[...document.querySelectorAll('[data-grid]')].filter(g => !g.hidden)"
    return str(page.execute_script(f"return {visible}.map(g => g.dataset.grid).join()"))


def tile(page: webdriver.Chrome, row: int, stage: int) -> str:
    return str(
        page.execute_script(
            "return document.querySelector('[data-grid]:not([hidden]) tbody')"
            f".rows[{row}].cells[{stage + 1}].querySelector('img').src"
        )
    )


def test_the_slider_walks_down_the_network_by_keyboard(page: webdriver.Chrome) -> None:
    slider, moving = one(page, "[data-stage]"), one(page, "[data-moving]")
    slider.send_keys(Keys.HOME)
    assert one(page, "[data-state]").text == "trained"
    assert moving.get_attribute("src") == one(page, "[data-still]").get_attribute("src")
    for k, stage in enumerate(("fc2", "fc1", "conv2", "conv1"), start=1):
        slider.send_keys(Keys.ARROW_RIGHT)
        assert one(page, "[data-state]").text == stage
        assert moving.get_attribute("src") == tile(page, 0, k)
        assert slider.get_attribute("aria-valuetext") == f"{stage}, {k} of 4"
        assert page.execute_script("return document.querySelectorAll('.here').length") == 1


def test_the_readings_are_the_scores_of_this_image_and_stage(
    page: webdriver.Chrome, cascade: Path
) -> None:
    (run,) = read_run(cascade).parts
    Select(one(page, "[data-method]")).select_by_visible_text("Guided backprop")
    choose(page, "part1-image", "1")
    choose(page, "part1-view", "signed")
    one(page, "[data-stage]").send_keys(Keys.END)
    scores = run.scores.set_index(["draw", "stage", "image", "method", "view", "similarity"])
    place = (0, "conv1", run.gallery[1].image, "guided_backprop", "signed")
    for similarity in run.similarities:
        expected = scores.loc[(*place, similarity)]
        row = one(page, f'[data-similarity="{similarity}"]')
        cells = [row.find_element(By.CSS_SELECTOR, c).text for c in ("[data-now]", "[data-chance]")]
        read = [float(text.replace("−", "-")) for text in cells]
        np.testing.assert_allclose(read, [expected["value"], expected["chance"]], atol=0.0051)


def test_switches_change_image_and_view(page: webdriver.Chrome) -> None:
    assert shown_grid(page) == "0/absolute"
    before = one(page, "[data-moving]").get_attribute("src")
    choose(page, "part1-view", "signed")
    assert shown_grid(page) == "0/signed"
    assert one(page, "[data-moving]").get_attribute("src") != before
    assert one(page, '[data-scale="signed"]').is_displayed()
    choose(page, "part1-image", "2")
    assert shown_grid(page) == "2/signed"
    assert one(page, '[data-photo="2"]').is_displayed()
    assert not one(page, '[data-photo="0"]').is_displayed()
    one(page, 'input[name="part1-view"]:checked').send_keys(Keys.ARROW_LEFT)
    assert shown_grid(page) == "2/absolute"


def test_a_click_on_a_map_shows_it_large(page: webdriver.Chrome) -> None:
    cell = "[data-grid]:not([hidden]) tbody tr:nth-child(3) td:nth-of-type(4) img"
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", one(page, cell))
    one(page, cell).click()
    assert one(page, "[data-moving]").get_attribute("src") == tile(page, 2, 3)
    chosen = Select(one(page, "[data-method]")).first_selected_option.text
    assert chosen == "Guided backprop"


def test_curves_follow_their_switches(page: webdriver.Chrome) -> None:
    choose(page, "part1-curve-similarity", "hog")
    choose(page, "part1-curve-view", "signed")
    shown = [
        e.get_attribute("data-curve")
        for e in page.find_elements(By.CSS_SELECTOR, ".panels")
        if e.is_displayed()
    ]
    assert shown == ["hog/signed"]


def test_terms_explain_themselves_by_keyboard_and_touch(page: webdriver.Chrome) -> None:
    term, tip = one(page, "#verdicts .term"), one(page, "#tip")
    page.execute_script("arguments[0].focus()", term)
    assert tip.is_displayed()
    assert "left, between 0" in tip.text
    term.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()
    term.click()
    assert tip.is_displayed()
    box = tip.rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280


@pytest.mark.parametrize("name", ["cascade", "both", "compared", "several"])
def test_hostile_names_do_nothing_and_nothing_is_fetched(
    browser: webdriver.Chrome, pages: dict[str, str], name: str
) -> None:
    resize(browser, *SIZES["desktop"])
    browser.get_log("browser")
    browser.get(pages[name])
    scripts = browser.execute_script("return [...document.scripts].filter(s => !s.type).length")
    assert scripts == 1
    assert not browser.find_elements(By.CSS_SELECTOR, "[onerror], [onmouseover], img[src='x']")
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [url for url in fetched if not url.startswith("data:")] == []
    assert browser.get_log("browser") == []  # an alert would also fail every command above


FAULTS = """
const wide = document.documentElement.clientWidth, faults = [];
const visible = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 0;
if (document.scrollingElement.scrollWidth > wide) faults.push("the page is wider than the window");
const pieces = "p, h1, h2, h3, li, th, td, dd, dt, .num, svg.bar, select";
for (const e of document.querySelectorAll(pieces)) {
  if (!visible(e) || e.closest(".scroll, .hidden, pre")) continue;
  const box = e.getBoundingClientRect();
  if (box.right > wide + 1 || box.left < -1) faults.push("cut: " + e.outerHTML.slice(0, 80));
}
for (const row of document.querySelectorAll(".lane, .switches, .verdicts tr, .walk")) {
  const boxes = [...row.children].filter(visible).map((e) => e.getBoundingClientRect());
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (x > 1 && y > 1) faults.push("overlap in " + row.outerHTML.slice(0, 80));
  }));
}
for (const e of document.querySelectorAll(".num")) {
  if (visible(e) && !e.closest(".scroll") && e.scrollWidth > e.clientWidth + 1 && e.clientWidth)
    faults.push("text runs out of " + e.textContent.slice(0, 60));
}
for (const e of document.querySelectorAll("img")) {
  if (visible(e) && !e.naturalWidth) faults.push("blank picture: " + e.alt);
}
return faults;
"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["cascade", "both", "compared", "several"])
def test_nothing_is_cut_overlapping_or_blank(
    browser: webdriver.Chrome, pages: dict[str, str], name: str, size: str
) -> None:
    resize(browser, *SIZES[size])
    browser.get(pages[name])
    assert browser.execute_script(FAULTS) == []


@pytest.mark.parametrize(
    "fault",
    [
        "document.querySelector('.answer').style.minWidth = '3000px'",
        "document.querySelector('.walk .moving').style.marginLeft = '-120px'",
        "document.querySelector('[data-moving]').src = 'data:,'",
        "document.querySelector('.lane.kept .num').style.width = '12px'",
    ],
)
def test_twin_faults_are_noticed(page: webdriver.Chrome, fault: str) -> None:
    page.execute_script(fault)
    settled(page)
    assert page.execute_script(FAULTS) != []


def settled(browser: webdriver.Chrome) -> None:
    browser.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")


@pytest.mark.parametrize("name", ["several", "compared", "card"])
def test_what_goes_on_beyond_the_edge_fades_until_its_end(
    browser: webdriver.Chrome, pages: dict[str, str], name: str
) -> None:
    resize(browser, *SIZES["phone"])
    browser.get(pages[name])
    settled(browser)
    odd = """return [...document.querySelectorAll(".scroll")].filter((e) => e.checkVisibility() &&
      (e.scrollWidth > e.clientWidth + 4) !== (getComputedStyle(e).maskImage !== "none")).length"""
    wide = """const wide = [...document.querySelectorAll(".scroll.more")];
      for (const e of wide) e.scrollLeft = e.scrollWidth; return wide.length"""
    assert browser.execute_script(odd) == 0
    assert browser.execute_script(wide) > 0
    settled(browser)
    assert browser.execute_script(wide) == 0


def picture(browser: webdriver.Chrome, what: str) -> np.ndarray:
    box = one(browser, what).rect
    clip = {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"]}
    options = {"captureBeyondViewport": True, "clip": clip | {"scale": 0.5}}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", options)
    image = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("L")
    return np.asarray(image).astype(float)


def check_drawn(seen: np.ndarray, *, dark: bool) -> None:
    """The paper is light or dark, and no third of the section is empty."""
    paper = np.median(seen[:, :8])
    assert (paper < 60) if dark else (paper > 220)
    for band in np.array_split(seen, 3):
        assert (np.abs(band - paper) > 40).mean() > 0.004


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_screenshots_show_every_section_in_both_themes(
    browser: webdriver.Chrome, pages: dict[str, str], size: str, theme: str
) -> None:
    resize(browser, *SIZES[size], prefers_color_scheme=theme)
    browser.get(pages["cascade"])
    for section in (
        "header",
        "#verdicts",
        "#part1-controls",
        "#part1-maps",
        "#part1-curves",
        "#how",
    ):
        check_drawn(picture(browser, section), dark=theme == "dark")


def test_twin_an_empty_section_is_noticed(page: webdriver.Chrome) -> None:
    page.execute_script("document.querySelector('#part1-curves').style.paddingBottom = '4000px'")
    with pytest.raises(AssertionError):
        check_drawn(picture(page, "#part1-curves"), dark=False)


def test_in_print_reasons_and_names_are_whole(page: webdriver.Chrome) -> None:
    cut = """return [...document.querySelectorAll(".rows summary, .rows th b, .rows .lane-name")]
      .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)"""
    resize(page, 720, 1000)
    assert page.execute_script(cut) != []
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.execute_script(cut) == []
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_page_prints(page: webdriver.Chrome) -> None:
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert len(content) > 50_000


def test_ten_methods_stand_on_one_screen_a_line_each(
    browser: webdriver.Chrome, plain: Path, tmp_path: Path
) -> None:
    resize(browser, *SIZES["desktop"])
    browser.get(write_report(plain, tmp_path / "page.html").as_uri())
    rows = browser.find_elements(By.CSS_SELECTOR, ".rows tbody tr")
    assert len(rows) == 10
    assert max(row.rect["height"] for row in rows) < 42
    last = rows[-1].rect
    assert last["y"] + last["height"] <= 900, "the head and all ten fit the first screen"


def test_a_reason_unfolds_by_keyboard_to_whole_words_and_every_view(page: webdriver.Chrome) -> None:
    summary = one(page, ".rows .reason summary")
    before = summary.rect["height"]
    page.execute_script("arguments[0].focus()", summary)
    summary.send_keys(Keys.ENTER)
    assert summary.rect["height"] > before
    assert summary.get_property("scrollWidth") <= summary.get_property("clientWidth")
    assert (
        len([b for b in page.find_elements(By.CSS_SELECTOR, ".rows .viewbar") if b.is_displayed()])
        == 2
    )


AXE = importlib.util.find_spec("axe_core_python")
needs_axe = pytest.mark.skipif(AXE is None, reason="axe-core-python is not installed")


def violations(browser: webdriver.Chrome) -> list[str]:
    """What axe-core, the checker that browsers' own tools use, finds on the page."""
    assert AXE is not None
    assert AXE.origin is not None
    browser.execute_script((Path(AXE.origin).parent / "axe.min.js").read_text("utf-8"))
    browser.set_script_timeout(120)  # the machine may be busy
    rules = (
        "{resultTypes: ['violations'], rules: {'color-contrast': {enabled: false}}}"  # tested below
    )
    found = browser.execute_async_script(f"const done = arguments[0]; axe.run({rules}).then(done)")
    return [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found["violations"]]


@needs_axe
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["cascade", "both", "compared", "several", "card"])
def test_axe_finds_nothing(
    browser: webdriver.Chrome, pages: dict[str, str], name: str, size: str
) -> None:
    resize(browser, *SIZES[size])
    browser.get(pages[name])
    assert violations(browser) == []


@needs_axe
@pytest.mark.parametrize(
    "fault",
    [
        "document.querySelector('.example img').removeAttribute('alt')",
        "document.documentElement.removeAttribute('lang')",
        "document.querySelector('[data-stage]').parentElement.replaceWith(document.querySelector('[data-stage]'))",
    ],
)
def test_twin_what_a_screen_reader_misses_is_found(page: webdriver.Chrome, fault: str) -> None:
    page.execute_script(fault)
    assert violations(page) != []


CONTRAST = """
const light = (c) => c.map((v) => v / 255).map((v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const colour = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const c = colour(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
const faint = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || e.closest("svg, script, .hidden") || !e.checkVisibility()) continue;
  const [a, b] = [light(colour(getComputedStyle(e).color).slice(0, 3)), light(ground(e))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 4.5) faint.push(`${ratio.toFixed(2)}: ${e.outerHTML.slice(0, 90)}`);
}
return faint;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["cascade", "compared", "several", "card"])
def test_all_text_stands_out_from_its_ground(
    browser: webdriver.Chrome, pages: dict[str, str], name: str, theme: str
) -> None:
    resize(browser, *SIZES["desktop"], prefers_color_scheme=theme)
    browser.get(pages[name])
    assert browser.execute_script(CONTRAST) == []


def test_twin_faint_text_is_noticed(page: webdriver.Chrome) -> None:
    page.execute_script("document.querySelector('.note').style.color = '#999'")
    assert len(page.execute_script(CONTRAST)) > 0


def test_a_thousand_images_and_ten_methods_are_painted_within_a_second(
    browser: webdriver.Chrome, tmp_path: Path
) -> None:
    recipe = Recipe(
        *(("fc", "conv2", "conv1"),),
        images=1000,
        draws=1,
        side=96,
        channels=3,
        grain=0.5,
        hostile=False,
    )
    page = write_report(write_cascade(tmp_path, recipe))
    assert page.stat().st_size < 5 * 2**20
    resize(browser, *SIZES["desktop"])
    times = []
    for _ in range(3):  # the machine may be busy with something else
        browser.get(page.as_uri())
        times += browser.execute_script(
            "return performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)"
        )
    assert min(times) < 1000
