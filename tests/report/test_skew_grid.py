"""Structured grids for ParaView: values and places of skew voxels come back as they were written."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from vtk_files import read_vtk

from adorym.optics.bragg_geometry import places_m
from adorym.report.vtk import write_vts

LATTICE = np.array([[1.0, 0.2, 3.0], [0.1, 2.0, 0.3], [4.0, 0.5, 0.6]])


def test_skew_voxels_and_their_places_come_back(tmp_path):
    shape = (3, 4, 5)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    places = places_m(LATTICE, shape)
    write_vts(tmp_path / "x.vts", {"a": values, "b": 2 * values}, places)
    root = ElementTree.parse(tmp_path / "x.vts").getroot()
    assert root.get("type") == "StructuredGrid" and root.find("StructuredGrid").get("WholeExtent") == "0 3 0 2 0 4"
    found, points = read_vtk(tmp_path / "x.vts")
    np.testing.assert_array_equal(found["b"], 2 * values)
    np.testing.assert_allclose(points, places, rtol=1e-6)


def test_places_are_steps_along_the_lattice_about_the_middle():
    places = places_m(LATTICE, (3, 4, 5))
    np.testing.assert_allclose(places.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    for axis, column in ((0, 1), (1, 2), (2, 0)):
        steps = np.diff(places, axis=axis).reshape(-1, 3)
        np.testing.assert_allclose(steps, np.broadcast_to(LATTICE[:, column], steps.shape))
