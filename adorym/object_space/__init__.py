"""Object spaces: the unknown of a run, and its relation to the forward model's object."""

from adorym.object_space.base import ObjectSpace
from adorym.object_space.crystal import CrystalAmplitude
from adorym.object_space.exponent import Absorption, Exponent, SingleMaterial, VolumeExponent
from adorym.object_space.transmission import MixedTransmission, Transmission

__all__ = [
    "Absorption",
    "CrystalAmplitude",
    "Exponent",
    "MixedTransmission",
    "ObjectSpace",
    "SingleMaterial",
    "Transmission",
    "VolumeExponent",
]
