"""The site builds with warnings as errors, and every link inside it leads somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT, pages

sys.path.insert(0, str(ROOT / "scripts"))
import links


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "SALSANITY_NOTEBOOKS_AS_KEPT": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_outside(site: Path) -> None:
    assert not [*links.wrong(site)]
    assert str(ROOT) not in "".join(p.read_text("utf-8") for p in site.rglob("*.html"))


def test_functions_options_and_notebooks_are_on_it(site: Path) -> None:
    page = (site / "api" / "index.html").read_text("utf-8")
    assert "Run any check, or several, on a trained classifier." in page
    assert "--until-decided" in (site / "reference.html").read_text("utf-8")
    assert (site / "examples" / "first_verdict.ipynb").is_file()
    assert "Set-up: two commands" in (site / "contributing.html").read_text("utf-8")
    assert 'id="salsanity.integrations.lightning.SanityChecks"' in (
        site / "api" / "integrations.html"
    ).read_text("utf-8")


CALLED_AS_A_FILE = re.compile(r">\s*[\w/-]+\.md\s*</a>")


def test_links_are_called_as_the_pages_that_they_lead_to(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not CALLED_AS_A_FILE.findall(page.read_text("utf-8")), page.name
    architecture = (site / "architecture.html").read_text("utf-8")
    assert re.search(r'<a href="plugins.html[^>]*>Plug-ins</a>', architecture)


def test_twin_a_link_called_as_a_file_is_found() -> None:
    assert CALLED_AS_A_FILE.findall('<a href="science.html">science.md</a>')


def test_the_first_page_is_called_home(site: Path) -> None:
    text = (site / "tutorial.html").read_text("utf-8")
    assert re.search(r'<a href="index.html" class="md-nav__link">\s*<span[^>]*>\s*Home\s*<', text)


def test_what_is_installed_is_installed_from_a_checkout() -> None:
    told = re.compile(r"pip install[^`#\n]*?[ \"']salsanity\b")
    assert told.search("pip install salsanity pytest")
    assert told.search('pip install "salsanity[ray]"')
    for page in pages():
        assert not told.search(page.read_text("utf-8")), page.name


BROKEN = """return [...document.querySelectorAll("table code")].filter((e) =>
  e.getClientRects().length > 1 && !/[\\s-]/.test(e.textContent)).map((e) => e.textContent)
  .concat(document.scrollingElement.scrollWidth > document.documentElement.clientWidth ? ["wide"] : [])"""


def test_code_in_tables_stays_whole_and_no_page_is_wider_than_a_phone(
    site: Path, tmp_path: Path
) -> None:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for name in ("checks", "card", "ci", "explainers", "plugins", "adding/index"):
            browser.get((site / f"{name}.html").as_uri())
            assert browser.execute_script(BROKEN) == [], name
        browser.execute_script("for (const s of document.styleSheets) s.disabled = true")
        browser.execute_script("document.body.style.wordBreak = 'break-all'")
        assert browser.execute_script(BROKEN) != [], "a word that breaks is noticed"
    finally:
        browser.quit()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="b.html">b</a>', "no such file"),
        ('<a href="#nowhere">b</a>', "no such place"),
        ('<script src="https://cdn.test/a.js"></script>', "from outside"),
        ('<link rel="stylesheet" href="//cdn.test/a.css">', "from outside"),
    ],
)
def test_twin_a_page_with_a_broken_link_is_found(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "index.html").write_text(f'<h1 id="here">{body}</h1><a href="#here">here</a>')
    (found,) = links.wrong(tmp_path)
    assert said in found


def test_twin_a_page_that_tells_of_this_machine_is_found(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text(f"<p>built in {tmp_path}</p>")
    (found,) = links.wrong(tmp_path / "site")
    assert "tells of this machine" in found
