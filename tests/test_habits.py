"""What a repository must hold beside its code: files in their form, versions in one place, workflows that call scripts."""

from __future__ import annotations

import itertools
import os
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import salsanity

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import description  # noqa: E402
import distributions  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def out_of_form(changelog: str) -> list[str]:
    """Say what is not as Keep a Changelog 1.1.0 has it."""
    heads = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    wrong = [h for h in heads[1:] if not re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", h)]
    wrong += [] if heads[0] == "[Unreleased]" else [heads[0]]
    wrong += [k for k in re.findall(r"^### (.*)$", changelog, re.MULTILINE) if k not in KINDS]
    dates = re.findall(r"^## .* - (.*)$", changelog, re.MULTILINE)
    return wrong + ([] if dates == sorted(dates, reverse=True) else ["dates"])


def test_the_changelog_is_in_its_form() -> None:
    assert not out_of_form(read("CHANGELOG.md"))


def test_twin_a_changelog_out_of_form_is_found() -> None:
    assert out_of_form("## [Unreleased]\n### New\n## 0.1\n") == ["0.1", "New"]


def test_the_version_stands_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "salsanity.__version__"}
    said = f'__version__ = "{salsanity.__version__}"'
    assert read("src/salsanity/__init__.py").count(said) == 1
    assert "version" not in PROJECT["project"]


def test_metadata_have_no_placeholder() -> None:
    project = PROJECT["project"]
    for address in project.get("urls", {}).values():
        assert not re.search(r"example|your|TODO|localhost", address), address
    assert project["authors"] == [{"name": "salsanity developers"}]
    known = {f"3.{minor}" for minor in range(11, 15)}
    said = {c.rpartition(" ")[2] for c in project["classifiers"] if "Python :: 3." in c}
    assert said == known


def test_the_citation_names_the_software_and_the_paper() -> None:
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    (paper,) = cited["references"]
    assert paper["title"] == "Sanity Checks for Saliency Maps"
    assert [a["family-names"] for a in paper["authors"]][::5] == ["Adebayo", "Kim"]
    assert cited["license"] == PROJECT["project"]["license"]


def test_the_description_for_indexes_leads_nowhere_wrong() -> None:
    assert read("DESCRIPTION.md") == description.description(read("README.md")), (
        "run scripts/reference"
    )
    assert not distributions.RELATIVE.findall(read("DESCRIPTION.md"))
    assert PROJECT["project"]["readme"] == "DESCRIPTION.md"


def test_twin_a_relative_link_or_picture_is_found_and_code_is_left_alone() -> None:
    text = (
        "See [this](docs/a.md#b), [that](https://a.org).\n\n![p](p.png)\n\n```sh\n[x](y.md)\n```\n"
    )
    assert distributions.RELATIVE.findall(text)
    made = description.description(text)
    assert made.startswith("See this, [that](https://a.org).\n\n```sh\n[x](y.md)\n```\n")


def steps() -> list[tuple[str, str]]:
    """Every command of every workflow, with the file."""
    found = []
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        jobs: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))["jobs"]
        for job in jobs.values():
            found += [(path.name, step["run"]) for step in job["steps"] if "run" in step]
    return found


def test_workflows_call_scripts_and_nothing_else() -> None:
    assert {command for _, command in steps()} >= {"scripts/check", "scripts/test", "scripts/docs"}
    for name, command in steps():
        assert re.fullmatch(r"scripts/\w+", command), f"{name}: {command}"
        assert (ROOT / command).is_file(), f"{name}: {command}"


def test_workflows_try_every_system_and_every_python() -> None:
    jobs = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert [system.partition("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such right")
def test_scripts_may_be_run_and_are_told_of() -> None:
    told = read("CONTRIBUTING.md")
    for path in (ROOT / "scripts").iterdir():
        if path.suffix or path.name in ("environment", "__pycache__"):
            continue
        assert path.stat().st_mode & stat.S_IXUSR, path
        assert f"scripts/{path.name}" in told + read("README.md"), path
        done = subprocess.run(["bash", "-n", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_hooks_have_the_versions_that_ci_has() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", read("constraints.txt"), re.MULTILINE))
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff", "ruff-format", "mypy"}
    for hook in hooks:
        for needed in hook.get("additional_dependencies", ()):
            name, _, version = needed.partition("==")
            assert pins[name] == version


def test_templates_are_read_by_github_s_rules() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text("utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
            names = [part["id"] for part in form["body"]]
            assert len(names) == len(set(names))
    assert "CHANGELOG.md" in read(".github/PULL_REQUEST_TEMPLATE.md")


def test_everything_that_is_installed_by_extras_is_pinned() -> None:
    pins = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in read("constraints.txt").splitlines()
    }
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    for one in itertools.chain(project["dependencies"], *extras):
        name = re.split(r"[\[<>=]", one)[0].lower().replace("_", "-")
        assert name in pins | {"salsanity"}, one


def test_twin_a_distribution_without_tests_is_found() -> None:
    names = [name for name in distributions.SOURCE if not name.startswith("tests/")]
    found = [
        *distributions.wrong_names("source", [*names, "a/__pycache__/b.pyc"], distributions.SOURCE)
    ]
    assert found[0].endswith("lacks tests/conftest.py")
    assert found[-1].endswith("holds a/__pycache__/b.pyc")
