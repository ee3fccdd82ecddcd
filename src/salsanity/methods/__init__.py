"""The saliency methods of the paper, and the controls."""

from salsanity.methods.baselines import Baselines
from salsanity.methods.callable import CallableMethod
from salsanity.methods.controls import Edge, InputMagnitude, Noise, NoiseXInput
from salsanity.methods.gradcam import GradCAM, GuidedGradCAM
from salsanity.methods.gradient import Gradient, GuidedBackprop, InputXGradient
from salsanity.methods.path import IntegratedGradients, IntegratedGradientsSmoothGrad
from salsanity.methods.protocol import Inputs, Maps, Method, Steps
from salsanity.methods.smooth import SmoothGrad, SmoothGradSquared, VarGrad

__all__ = [
    "Baselines",
    "CallableMethod",
    "Edge",
    "GradCAM",
    "Gradient",
    "GuidedBackprop",
    "GuidedGradCAM",
    "InputMagnitude",
    "InputXGradient",
    "Inputs",
    "IntegratedGradients",
    "IntegratedGradientsSmoothGrad",
    "Maps",
    "Method",
    "Noise",
    "NoiseXInput",
    "SmoothGrad",
    "SmoothGradSquared",
    "Steps",
    "VarGrad",
]
