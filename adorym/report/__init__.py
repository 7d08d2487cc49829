"""The report on a reconstruction: pictures, one self-contained page, and files for other programs.

`adorym.report.pictures` draws, `adorym.report.page` writes the page, `adorym.report.export` converts.
"""

from adorym.report.base import Picture, Scene
from adorym.report.score import Score

__all__ = ["Picture", "Scene", "Score"]
