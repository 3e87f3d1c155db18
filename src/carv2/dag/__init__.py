"""DAGs: walks along the links, completeness, order, paths, selectors, and archives made of them."""

from carv2.dag.complete import Completeness, Missing, check_complete, verify_deep
from carv2.dag.exporting import Exported, Sorted, export, sort
from carv2.dag.graphviz import dot
from carv2.dag.order import Order, OrderDetector, detect_order
from carv2.dag.path import Resolved, resolve
from carv2.dag.selector import Selector, select
from carv2.dag.statistics import Gaps, Statistics, stat
from carv2.dag.walking import Visit, walk

__all__ = [
    "Completeness",
    "Exported",
    "Gaps",
    "Missing",
    "Order",
    "OrderDetector",
    "Resolved",
    "Selector",
    "Sorted",
    "Statistics",
    "Visit",
    "check_complete",
    "detect_order",
    "dot",
    "export",
    "resolve",
    "select",
    "sort",
    "stat",
    "verify_deep",
    "walk",
]
