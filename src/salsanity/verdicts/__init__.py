"""From scores to PASS, FAIL, INCONCLUSIVE and UNINFORMATIVE; numpy, scipy and pandas only."""

from salsanity.verdicts.curves import curves
from salsanity.verdicts.gates import Gate, accuracy_gate, collapse_gates
from salsanity.verdicts.headline import distrust, trustworthy
from salsanity.verdicts.judge import Rules, judge
from salsanity.verdicts.labels import judge_labels
from salsanity.verdicts.sequential import Look, judge_until_decided, plan_looks, settled_at
from salsanity.verdicts.serial import from_json, to_json

__all__ = [
    "Gate",
    "Look",
    "Rules",
    "accuracy_gate",
    "collapse_gates",
    "curves",
    "distrust",
    "from_json",
    "judge",
    "judge_labels",
    "judge_until_decided",
    "plan_looks",
    "settled_at",
    "to_json",
    "trustworthy",
]
