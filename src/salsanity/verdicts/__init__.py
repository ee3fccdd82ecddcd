"""From a check's record and its scores to PASS, FAIL, INCONCLUSIVE and UNINFORMATIVE; numpy, scipy and pandas only."""

from salsanity.verdicts.curves import curves
from salsanity.verdicts.difference import Difference, Side, difference
from salsanity.verdicts.exchange import pair_index
from salsanity.verdicts.gates import Gate, accuracy_gate, collapse_gates
from salsanity.verdicts.headline import distrust
from salsanity.verdicts.judge import judge
from salsanity.verdicts.samples import samples_wanted, with_samples
from salsanity.verdicts.sequential import Look, judge_until_decided, plan_looks, settled_at
from salsanity.verdicts.serial import from_json, to_json
from salsanity.verdicts.words import LADDER, ladder

__all__ = [
    "LADDER",
    "Difference",
    "Gate",
    "Look",
    "Side",
    "accuracy_gate",
    "collapse_gates",
    "curves",
    "difference",
    "distrust",
    "from_json",
    "judge",
    "judge_until_decided",
    "ladder",
    "pair_index",
    "plan_looks",
    "samples_wanted",
    "settled_at",
    "to_json",
    "with_samples",
]
