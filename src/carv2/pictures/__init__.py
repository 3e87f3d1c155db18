"""What an archive looks like: one model of it, and the pictures that are drawn from that.

>>> import carv2
>>> fish = carv2.CID.of_data(b"fish")
>>> found = layout(b"".join(carv2.iter_car([fish], [(fish, b"fish")])), name="sea.car")
>>> [(region.name, region.start, region.end) for region in found.regions]
[('CARv1 header', 0, 59), ('sections', 59, 100)]
>>> draw_map(found).startswith("<svg"), draw_report(found).startswith("<!DOCTYPE html>")
(True, True)
"""

from __future__ import annotations

from carv2.pictures.layout import layout
from carv2.pictures.map import draw_map
from carv2.pictures.model import Dag, Layout, Region, Share, SizeClass, Slice, TreeNode, WalkPoint
from carv2.pictures.report import draw_report

__all__ = [
    "Dag",
    "Layout",
    "Region",
    "Share",
    "SizeClass",
    "Slice",
    "TreeNode",
    "WalkPoint",
    "draw_map",
    "draw_report",
    "layout",
]
