"""Sphinx configuration; `make docs` builds it with warnings as errors."""

from importlib.metadata import version as installed_version

project = "neuroexapt"
author = "neuroexapt contributors"
copyright = author
release = installed_version("neuroexapt")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"neuroexapt {release}"
