"""Object spaces: the unknown of a run, and its relation to the forward model's object."""

from adorym.object_space.base import ObjectSpace
from adorym.object_space.crystal import CrystalAmplitude
from adorym.object_space.exponent import Absorption, ChangingAbsorption, Exponent, SingleMaterial, VolumeExponent
from adorym.object_space.transmission import ChangingTransmission, MixedTransmission, Transmission

__all__ = [
    "Absorption",
    "ChangingAbsorption",
    "ChangingTransmission",
    "CrystalAmplitude",
    "Exponent",
    "MixedTransmission",
    "ObjectSpace",
    "SingleMaterial",
    "Transmission",
    "VolumeExponent",
]
