"""Bad options, files of options, names of methods, networks and explainers, each as a case for `check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attempts import SUBJECT, Case

HONEST = ("--model", f"{SUBJECT}:honest", "--data", f"{SUBJECT}:plain_images")


def bad_options() -> Iterator[Case]:
    """Yield options of wrong types, unknown ones and absurd sizes."""
    numbers = ("0", "-1", "x", "", "1e3", "nan", "9" * 30, "1.5", "١x")
    for option in ("--draws", "--max-images", "--samples", "--steps", "--batch-size"):
        for value in numbers:
            yield Case(f"{option} {value[:12]!r}", (*HONEST, option, value))
    for option, values in {
        "--gallery": ("-1", "x", "999999999"),
        "--seed": ("-1", "x", "9" * 30, "0.5"),
        "--d-full": ("0", "1", "-1", "nan", "inf", "x"),
        "--d-half": ("0", "1", "2", "nan"),
        "--unit-timeout": ("0", "-1", "nan", "inf", "1e300", "x"),
        "--size": ("0", "-5", "1000000", "x"),
        "--resize": ("0", "-5", "1000000"),
        "--channels": ("0", "2", "7", "x"),
        "--mean": ("x", "", "nan,nan,nan", "1,2", "1,2,3,4"),
        "--std": ("0", "0,0,0", "-1", "inf", "nan"),
        "--max-pixels": ("0", "-1", "x"),
        "--max-bytes": ("0", "-1", "x"),
        "--order": ("", "sideways", "TOP_DOWN"),
        "--stages": ("none", ""),
        "--init": ("", "zeros", "fresh2"),
        "--batchnorm": ("on",),
        "--target": ("7", ""),
        "--blocks": ("nowhere", "", "conv1,conv1", "fc.weight"),
        "--keep": ("nowhere.*", "[", "*"),
        "--layer": ("nowhere", "", "fc..x"),
        "--device": ("tpu9", "", "cuda:99", "cpu:x", "meta"),
        "--preset": ("papers", ""),
        "--executor": ("nobody", ""),
        "--similarity": ("", "spearmann", "ssim(window=0)", "ssim(window=-5)", "ssim(window='x')", "ssim(window=10**9)",
                         "hog(cells=0)", "spearman,spearman", "spearman(x=1)", "ssim(window=4)", "ssim(window=99999)"),
        "--out": ("/proc/nowhere/run", "/dev/null", "/dev/null/run", "a\0b", "x" * 300),
    }.items():  # fmt: skip
        for value in values:
            must = "either" if (option, value) in _LENIENT else "refuse"
            yield Case(f"{option} {value[:20]!r}", (*HONEST, option, value), must)
    for options in (
        ("--no-such-option",),
        ("--draws",),
        ("positional",),
        ("--json=maybe",),
        ("--quick", "yes"),
    ):
        yield Case(f"options {options}", (*HONEST, *options))


_LENIENT = {
    *(
        ("--blocks", ""),
        ("--layer", "nowhere"),
        ("--layer", ""),
        ("--layer", "fc..x"),
        ("--similarity", ""),
    ),
    *(("--mean", "nan,nan,nan"), ("--size", "1000000"), ("--resize", "1000000"), ("--keep", "*")),
    *(("--mean", "1,2,3,4"), ("--executor", ""), ("--out", "x" * 300), ("--blocks", "conv1,conv1")),
    *(
        ("--similarity", "spearman,spearman"),
        ("--preset", ""),
        ("--similarity", "ssim(window=99999)"),
    ),
    *(("--init", "fresh2"), ("--size", "0")),
}
"""Those that may also be taken as something harmless; hanging, tracebacks and half-written folders are still losses."""


METHODS = (
    *("", "gradeint", "edge", "(", ")", "gradient(", "gradient)", "gradient(1)", "gradient(x=1)", "gradient,gradient"),
    *("smoothgrad(samples=0)", "smoothgrad(samples='9')", "smoothgrad(samples=1e9)", "smoothgrad(samples=10**9)"),
    *("smoothgrad(sd=-1)", "smoothgrad(sd=[1])", "smoothgrad(sd='x')", "smoothgrad(sd=1e999)", "smoothgrad(samples=True)"),
    *("smoothgrad(samples=__import__('os').system('touch hacked'))", "smoothgrad(**{})", "smoothgrad(*[])"),
    *("smoothgrad(samples=(lambda: 1)())", "smoothgrad(samples=1, samples=2)", "smoothgrad(name='edge')"),
    *("integrated_gradients(baseline='nothing')", "integrated_gradients(baseline=[])", "integrated_gradients(spacing='x')"),
    *("integrated_gradients(baseline='constant', baseline_value='x')", "integrated_gradients(steps=0)"),
    *("gradcam(layer='nowhere')", "captum:", ":Saliency", "captum:NoSuchThing", "captum:Saliency(x=1)", "captum:os.system"),
    *("captum:__class__", "zennit:", "nolibrary:Thing", "os:system(command='touch hacked')", f"{SUBJECT}:absent"),
    *(f"{SUBJECT}:", f"{SUBJECT}:honest.forward.absent", "/no/such/file.py:f", "../../x.py:f", "x" * 3000),
    *("smoothgrad(samples=" + "9" * 1900 + ")", "smoothgrad(samples=" + "[" * 900 + "]" * 900 + ")", "gradient\0", "grad\nient"),
    *("\x1b[31mgradient", "smoothgrad(samples=1", "smoothgrad samples=1", "🦊", "-", "--", "gradient;x"),
    *("smoothgrad(samples=\ud800)",),
    *("smoothgrad(samples={1: 2})", "smoothgrad(samples=None)", "smoothgrad(samples=b'1')", "smoothgrad(samples=1j)"),
    *("smoothgrad(sd=nan)", "smoothgrad(stochastic=False)", "integrated_gradients(steps=True)"),
)  # fmt: skip


def bad_methods() -> Iterator[Case]:
    """Yield names of methods that must be refused."""
    for name in METHODS:
        must = "either" if name in ("", "gradient\0", "-", "--", "smoothgrad(**{})") else "refuse"
        yield Case(f"method {name[:40]!r}", HONEST, must, method=("--method", name))


TOML = (
    *(
        "draws = 'x'",
        "draws = 1.5",
        "draws = true",
        "draws = []",
        "draws = -3",
        "draws = 1979-05-27",
        "seed = 'x'",
    ),
    *(
        "unknown = 1",
        "[blocks]\nx = 1",
        "model = 'x'",
        "images = 3",
        "method = 3",
        "method = [1]",
        "method = {a = 1}",
    ),
    *(
        "similarity = 3",
        "similarity = [[]]",
        "similarity = 'nothing'",
        "out = 3",
        "out = []",
        "executor = 3",
        "blocks = 3",
    ),
    *(
        "blocks = [1]",
        "keep = 'x'",
        "keep = [3]",
        "keep = {}",
        "device = 5",
        "device = []",
        "layer = 5",
        "order = 5",
    ),
    *(
        "order = []",
        "endpoints = 'yes'",
        "endpoints = 3",
        "init_sd = 'x'",
        "init_sd = -1.0",
        "init_sd = nan",
        "init_bias = inf",
    ),
    *(
        "unit_timeout = 'x'",
        "unit_timeout = inf",
        "unit_timeout = nan",
        "unit_timeout = []",
        "d_full = true",
        "d_full = 'x'",
    ),
    *(
        "d_half = []",
        "batch_size = 'x'",
        "batch_size = 1.5",
        "batch_size = []",
        "batch_size = inf",
        "gallery = 'x'",
    ),
    *(
        "init = 5",
        "init = []",
        "target = {}",
        "stages = 0",
        "batchnorm = false",
        "max_images = '4'",
        "samples = nan",
    ),
    *(
        "not toml",
        "= 1",
        "a = \n",
        "draws = 1\ndraws = 2",
        "x = " + "[" * 5000 + "]" * 5000,
        "\ud7ff = 1",
        "a = 'é\0'",
    ),
)


def bad_files_of_options(top: Path) -> Iterator[Case]:
    """Yield TOML files of wrong types, unknown keys, nonsense."""
    tiny = ("--draws", "1", "--max-images", "4", "--device", "cpu")
    for k, text in enumerate(TOML):
        path = top / f"{k}.toml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        name = text.partition(" ")[0]
        given = tuple(
            part
            for pair in zip(tiny[::2], tiny[1::2], strict=True)
            if name not in pair[0].replace("-", "_")
            for part in pair
        )
        method = () if name == "method" else ("--method", "gradient")
        yield Case(
            f"options file {text[:30]!r}",
            (*HONEST, "--config", str(path)),
            tiny=given,
            method=method,
        )
    (top / "bytes.toml").write_bytes(b"\xff\xfe")
    for place in ("bytes.toml", "absent.toml", "."):
        yield Case(f"options file at {place}", (*HONEST, "--config", str(top / place)))


def bad_models() -> Iterator[Case]:
    """Yield names of networks that name none."""
    data = ("--data", f"{SUBJECT}:plain_images")
    for model in (
        *(
            "",
            ":",
            "x",
            "reference:",
            "reference:cnn",
            "reference:xyz",
            "torchvision:",
            "torchvision:resnet999",
            "timm:",
        ),
        *(
            "hf:",
            "hf:/no/such/folder",
            "hf:../..",
            f"{SUBJECT}:",
            f"{SUBJECT}:absent",
            f"{SUBJECT}:no_network",
            "os:getcwd",
        ),
        *(
            f"{SUBJECT}:raising_builder",
            f"{SUBJECT}:without_parameters",
            f"{SUBJECT}:uncopyable",
            f"{SUBJECT}:SIDE",
        ),
        *(
            f"{SUBJECT}:with_nan_weights",
            "no.module:f",
            "/no/file.py:f",
            "/dev/null:f",
            "a\0b.py:f",
            "x" * 5000 + ".py:f",
        ),
        *("\x1b[31m:x", "..:x", ".:x", "torch.nn:Linear", "builtins:print"),
    ):
        yield Case(f"model {model[-30:]!r}", ("--model", model, *data))
    for name in ("raising_data", "bad_data", "absent", "honest", "SIDE"):
        yield Case(f"data {name}", ("--model", f"{SUBJECT}:honest", "--data", f"{SUBJECT}:{name}"))
    for kind in ("EMPTY", "NAN"):
        options = ("--model", f"{SUBJECT}:honest", "--data", f"{SUBJECT}:bad_data")
        yield Case(f"data {kind}", options, environment={"BAD_DATA": kind})
    for name in ("", "digits2", "/no/folder", "a\0b", "x" * 5000):
        yield Case(f"data {name[:12]!r}", ("--model", f"{SUBJECT}:honest", "--data", name))


REFUSED = frozenset(
    {
        *(
            "nan",
            "infinite",
            "no gradient",
            "integers",
            "one row",
            "one class",
            "no class",
            "four axes",
            "flat",
        ),
        *(
            "a list of numbers",
            "nothing",
            "text",
            "an empty mapping",
            "complex",
            "raise",
            "drift",
            "recurse",
            "transposed",
        ),
    }
)
SLOW = ("sleep", "sleep and swallow")


def bad_networks() -> Iterator[Case]:
    """Yield networks that misbehave at once, and some that misbehave only later."""
    from subject import BAD_NETWORKS

    options = ("--model", f"{SUBJECT}:hostile", "--data", f"{SUBJECT}:plain_images")
    for what in BAD_NETWORKS:
        if what == "allocate":
            continue  # in a child process, see memory.py
        timeout = ("--unit-timeout", "2") if what in SLOW else ()
        for after in (0, 25, 60):
            must = "refuse" if after == 0 and what in REFUSED else "either"
            environment = {"HOSTILE": what, "HOSTILE_AFTER": str(after)}
            yield Case(
                f"network: {what}, after {after} calls",
                (*options, *timeout),
                must,
                environment=environment,
            )


NO_EXPLAINERS = (
    *(
        "explains_nan",
        "explains_infinity",
        "explains_zero",
        "explains_one_pixel",
        "explains_too_many",
        "explains_other_axes",
    ),
    *(
        "explains_empty",
        "explains_text",
        "explains_objects",
        "explains_none",
        "explains_complex",
        "raises",
        "wants_other_arguments",
    ),
)
"""They raise everywhere, return no maps, or never look at the network: refused when they are tried."""

EXPLAINERS = ("raises_now_and_then", "mutates_the_network", "mutates_the_inputs")


ENOUGH = (
    *("--draws", "3", "--max-images", "12", "--samples", "1", "--steps", "1", "--gallery", "1"),
    *("--batch-size", "8", "--similarity", "spearman", "--device", "cpu"),
)
"""Enough draws and images that honest methods and controls are judged, so that a verdict of nothing would stand out."""


def bad_explainers() -> Iterator[Case]:
    """Yield explainers that misbehave, alone and beside an honest method that must come through."""
    for name in (*NO_EXPLAINERS, *EXPLAINERS):
        for beside in ((), ("--method", "gradient")):
            method = ("--method", f"{SUBJECT}:{name}", *beside)
            yield Case(
                f"explainer {name}{' beside gradient' if beside else ''}",
                HONEST,
                "refuse" if name in NO_EXPLAINERS else "finish",
                method=method,
                tiny=ENOUGH,
            )
    for name in ("sleeps", "swallows", "exits"):
        yield Case(
            f"explainer {name}",
            (*HONEST, "--unit-timeout", "2"),
            "either",
            method=("--method", f"{SUBJECT}:{name}"),
        )
    for name in ("constant_images", "data_without_labels"):
        options = ("--model", f"{SUBJECT}:honest", "--data", f"{SUBJECT}:{name}")
        yield Case(f"images {name}", options, "either")
        yield Case(f"images {name} with labels", (*options, "--target", "label"))
