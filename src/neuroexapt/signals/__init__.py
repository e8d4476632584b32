"""Sense: what a network says it needs, measured for all layers in one pass."""

from neuroexapt.signals.compute import macs_of_units
from neuroexapt.signals.correlation import LayerCorrelation, noise_floor, signature_correlation
from neuroexapt.signals.entropy import HistogramEntropy, activation_entropy
from neuroexapt.signals.gain import Gain, Gains, growth_gain
from neuroexapt.signals.information import class_information
from neuroexapt.signals.kernel import TangentKernel, kernel_of, tangent_kernel
from neuroexapt.signals.layers import Layer, adjacent, distant_pairs, layers
from neuroexapt.signals.readings import Readings, sense

__all__ = [
    "Gain",
    "Gains",
    "HistogramEntropy",
    "Layer",
    "LayerCorrelation",
    "Readings",
    "TangentKernel",
    "activation_entropy",
    "adjacent",
    "class_information",
    "distant_pairs",
    "growth_gain",
    "kernel_of",
    "layers",
    "macs_of_units",
    "noise_floor",
    "sense",
    "signature_correlation",
    "tangent_kernel",
]
