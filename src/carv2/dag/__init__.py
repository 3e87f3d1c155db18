"""DAGs: walks along the links, completeness, order, paths and selectors."""

from carv2.dag.complete import Completeness, Missing, check_complete, verify_deep
from carv2.dag.walk import Visit, walk

__all__ = ["Completeness", "Missing", "Visit", "check_complete", "verify_deep", "walk"]
