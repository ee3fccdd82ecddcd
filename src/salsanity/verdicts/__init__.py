"""From scores to PASS, FAIL, INCONCLUSIVE and UNINFORMATIVE; numpy, scipy and pandas only."""

from salsanity.verdicts.curves import curves
from salsanity.verdicts.gates import Gate, accuracy_gate, collapse_gates
from salsanity.verdicts.headline import distrust, trustworthy
from salsanity.verdicts.judge import judge
from salsanity.verdicts.labels import judge_labels
from salsanity.verdicts.serial import from_json, to_json

__all__ = [
    "Gate",
    "accuracy_gate",
    "collapse_gates",
    "curves",
    "distrust",
    "from_json",
    "judge",
    "judge_labels",
    "to_json",
    "trustworthy",
]
