"""Sense: what a network says it needs, measured for all layers in one pass."""

from neuroexapt.signals.correlation import LayerCorrelation, noise_floor, signature_correlation
from neuroexapt.signals.entropy import HistogramEntropy, activation_entropy
from neuroexapt.signals.gain import Gain, Gains, growth_gain
from neuroexapt.signals.layers import Layer, adjacent, distant_pairs, layers
from neuroexapt.signals.readings import Readings, sense

__all__ = [
    "Gain",
    "Gains",
    "HistogramEntropy",
    "Layer",
    "LayerCorrelation",
    "Readings",
    "activation_entropy",
    "adjacent",
    "distant_pairs",
    "growth_gain",
    "layers",
    "noise_floor",
    "sense",
    "signature_correlation",
]
