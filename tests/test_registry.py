"""Names to objects, without evaluating anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salsanity import registry
from salsanity.errors import MethodError, SalsanityError, UsageError


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        call = registry.parse_call(text)
    except UsageError:
        return
    assert call.target


@pytest.mark.parametrize(
    "text",
    [
        "f(__import__('os'))",
        "f(x=__import__('os'))",
        "f(**{})",
        "f(1)",
        "f(x=1",
        "",
        "()",
        "f(x=y)",
        "f(x=[i for i in 'a'])",
    ],
)
def test_code_is_never_run(text: str) -> None:
    with pytest.raises(UsageError):
        registry.parse_call(text)


def test_arguments_are_literals() -> None:
    call = registry.parse_call("captum:Occlusion(sliding_window_shapes=(3, 16, 16), strides=8)")
    assert call.target == "captum:Occlusion"
    assert call.arguments == {"sliding_window_shapes": (3, 16, 16), "strides": 8}


def test_methods_take_their_arguments() -> None:
    method = registry.method("smoothgrad(sd=0.2, samples=7)")
    assert (method.samples, method.sd, method.name) == (7, 0.2, "smoothgrad(samples=7, sd=0.2)")
    path = registry.method("integrated_gradients(baseline='blur', steps=3)")
    assert (path.steps_on_path, path.baseline.name, path.stochastic) == (3, "blur", False)
    assert registry.method("integrated_gradients(baseline='data', baseline_draws=4)").stochastic


def test_effort_sets_what_the_name_leaves_open() -> None:
    effort = registry.Effort(samples=12, steps=9)
    assert registry.method("smoothgrad", effort=effort).samples == 12
    assert registry.method("vargrad", effort=registry.Effort(50, 50)).samples == 25
    assert registry.method("integrated_gradients", effort=effort).steps_on_path == 9


@pytest.mark.parametrize(
    "spec",
    ["gradeint", "smoothgrad(samples=0)", "smoothgrad(samples='x')", "smoothgrad(sd=-1)", "gradient(x=1)",
     "integrated_gradients(baseline='black')", "edge", "captum"],
)  # fmt: skip
def test_wrong_methods_are_named(spec: str) -> None:
    with pytest.raises(MethodError):
        registry.method(spec)


def test_a_function_of_a_file_is_a_method(tmp_path) -> None:
    (tmp_path / "mine.py").write_text("def explain(model, x, targets):\n    return x\n")
    method = registry.method(f"{tmp_path}/mine.py:explain")
    assert method.stochastic
    with pytest.raises(SalsanityError, match="nothing"):
        registry.method(f"{tmp_path}/mine.py:nothing")
