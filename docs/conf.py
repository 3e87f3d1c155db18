"""How the documentation site is built: ``sphinx-build -W docs site``, with the extra ``docs``."""

import os
import re
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent
sys.path.insert(0, os.fspath(TOP / "src"))

project = "carv2"
author = "the carv2 authors"
project_copyright = "the carv2 authors"
_found = re.search(r'^version = "(.+)"', (TOP / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
release = version = _found[1] if _found else ""

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["site"]
html_theme = "furo"
html_title = "carv2"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
python_use_unqualified_type_names = True
default_role = "code"
suppress_warnings = ["ref.python"]  # imports and dagstore both have a Problem; a page links to its own first
