"""The words of the report: names as people know them, and a line to explain each term."""

from __future__ import annotations

from typing import Final

METHOD_NAMES: Final = {
    "gradient": "Gradient",
    "input_x_gradient": "Input × gradient",
    "smoothgrad": "SmoothGrad",
    "smoothgrad_squared": "SmoothGrad squared",
    "vargrad": "VarGrad",
    "integrated_gradients": "Integrated gradients",
    "integrated_gradients_smoothgrad": "IG-SmoothGrad",
    "guided_backprop": "Guided backprop",
    "gradcam": "GradCAM",
    "guided_gradcam": "Guided GradCAM",
    "edge": "Edge detector",
    "input": "Input",
    "noise": "Noise",
    "noise_x_input": "Noise × input",
}

METHOD_LINES: Final = {
    "gradient": "the derivative of the class's logit by each pixel",
    "input_x_gradient": "the gradient times the pixel's value",
    "smoothgrad": "the mean of gradients at noisy copies of the image",
    "smoothgrad_squared": "the mean of squared gradients at noisy copies of the image",
    "vargrad": "the variance of gradients at noisy copies of the image",
    "integrated_gradients": "the mean gradient on the way from a baseline, times the difference",
    "integrated_gradients_smoothgrad": "the mean of integrated gradients over noisy copies",
    "guided_backprop": "the gradient with negative signals cut at every ReLU on the way back",
    "gradcam": "the last convolutional layer's features, weighted by their mean gradient",
    "guided_gradcam": "guided backprop times GradCAM",
    "edge": "a Sobel filter on the image; it sees no network, so it must FAIL",
    "input": "the image's own absolute values; it sees no network",
    "noise": "random numbers, new for every network state; it must PASS",
    "noise_x_input": "random numbers times the image: what multiplying by the input does alone",
}

SIMILARITY_NAMES: Final = {
    "spearman": "Spearman",
    "ssim": "SSIM",
    "hog": "HOG",
    "pearson": "Pearson",
    "cosine": "Cosine",
}

CHECK_NAMES: Final = {
    "model_randomization": "Model parameter randomisation test",
    "data_randomization": "Data randomisation test",
}

TERMS: Final = {
    "saliency map": "A picture that says of every pixel how relevant a method holds it for the "
    "network's output.",
    "retained similarity": "How much of a map's likeness to the trained network's map is left, "
    "between 0 (what chance gives) and 1 (nothing changed, as for an edge detector).",
    "chance": "The likeness to the randomised network's map of another image: what two maps "
    "share without showing the same thing.",
    "ceiling": "The likeness of the trained network's map to itself when explained once more "
    "with other noise: the most that any map can keep.",
    "interval": "A two-sided 90 % confidence interval over images and draws; its ends are the "
    "bounds that decide.",
    "full": "The stage where every parameter has been randomised.",
    "half": "The stage where the upper half of the blocks, from the output down, has been "
    "randomised.",
    "stage": "A state of the network in which one more block has been replaced by random "
    "parameters.",
    "cascade": "Randomising block after block from the output down to the first layer, "
    "cumulatively.",
    "draw": "One set of random parameters; the test is repeated with several.",
    "signed": "The map with its signs, summed over colour channels.",
    "absolute": "The map without its signs: absolute values summed over colour channels.",
    "Spearman": "The correlation of the pixels' ranks in two maps.",
    "SSIM": "The structural similarity index: local brightness, contrast and pattern of two maps.",
    "HOG": "The correlation of histograms of oriented gradients: the shapes drawn by two maps.",
    "Pearson": "The correlation of the pixels' values in two maps.",
    "Cosine": "The cosine of the angle between two maps.",
    "PASS": "The maps lose their likeness once the network forgets: the method was not caught.",
    "FAIL": "The maps stay too much alike although the network has forgotten what it learned.",
    "INCONCLUSIVE": "The interval lies across the line, or the run is too small to say.",
    "UNINFORMATIVE": "This similarity cannot tell here: chance is almost as high as the ceiling, "
    "or too many scores are undefined.",
    "edge detector": "A map made without any network; what looks like it needs no network.",
    "control": "A map whose verdict is known beforehand; if it comes out otherwise, the run "
    "cannot be trusted.",
    "gate": "A condition without which no verdict is given, such as a network that predicts "
    "better than chance.",
    "collapse": "The random network gives the same output for every image, so its maps mean "
    "nothing.",
    "dead map": "A map that is constant or not finite.",
    "initialiser": "How random parameters are drawn.",
    "target": "The class whose logit is explained.",
    "permuted labels": "The training labels shuffled among the images: the network memorises "
    "them, but they mean nothing.",
}


def printable(text: object) -> str:
    """Return text without control characters, which could drive a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def method_name(method: str) -> str:
    """Return a method's name as people know it."""
    return METHOD_NAMES.get(method, printable(method))


def similarity_name(similarity: str) -> str:
    """Return a similarity's name as people know it."""
    return SIMILARITY_NAMES.get(similarity, printable(similarity))


def state_name(state: str) -> str:
    """Return the name of a stage, or of a network of the label test, for a heading."""
    kind, _, number = state.partition(":")
    if kind in ("true", "permuted") and number.isdigit():
        return f"{kind} {int(number) + 1}"
    return printable(state)


def listed(names: list[str]) -> str:
    """Join names as in a sentence: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def decimals(value: float, digits: int = 2) -> str:
    """Write a number with a true minus sign, or a dash where it is undefined."""
    if value != value:
        return "–"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
