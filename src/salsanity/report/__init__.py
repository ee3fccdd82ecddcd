"""From a run folder to tables, figures and one HTML file; needs neither the network nor torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from salsanity.report.card import Card, card_of
    from salsanity.report.figures import figure, write_figures
    from salsanity.report.folder import Part, Run, read_run
    from salsanity.report.html import check_card_form, write_card, write_report
    from salsanity.report.junit import write_junit
    from salsanity.report.notebook import card_html, notebook_html
    from salsanity.report.summary import summary_sentences
    from salsanity.report.tables import verdict_table
    from salsanity.report.takeaways import (
        curve_table,
        number_table,
        to_csv,
        to_latex,
        to_markdown,
        write_takeaways,
    )

_HOME = {
    "Card": "card",
    "card_of": "card",
    "Part": "folder",
    "Run": "folder",
    "read_run": "folder",
    "verdict_table": "tables",
    "summary_sentences": "summary",
    "figure": "figures",
    "write_figures": "figures",
    "write_report": "html",
    "check_card_form": "html",
    "write_card": "html",
    "card_html": "notebook",
    "notebook_html": "notebook",
    "write_junit": "junit",
    "curve_table": "takeaways",
    "number_table": "takeaways",
    "to_csv": "takeaways",
    "to_latex": "takeaways",
    "to_markdown": "takeaways",
    "write_takeaways": "takeaways",
}

__all__ = [
    "Card",
    "Part",
    "Run",
    "card_html",
    "card_of",
    "check_card_form",
    "curve_table",
    "figure",
    "notebook_html",
    "number_table",
    "read_run",
    "summary_sentences",
    "to_csv",
    "to_latex",
    "to_markdown",
    "verdict_table",
    "write_card",
    "write_figures",
    "write_junit",
    "write_report",
    "write_takeaways",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: matplotlib and pandas are slow to start."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
