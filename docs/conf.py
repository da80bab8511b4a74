"""Sphinx settings."""

from importlib.metadata import version as installed_version
from typing import Any

project = "lightning_dissect"
author = "the lightning_dissect authors"
copyright = f"2026, {author}"
release = version = installed_version("lightning-dissect")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"lightning_dissect {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "code"
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def skip_matplotlibs(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what matplotlib writes into its subclasses, in markup of its own."""
    module = getattr(member, "__module__", None) or ""
    return True if module.startswith("matplotlib") else None


def setup(app: Any) -> None:
    """Connect to Sphinx."""
    app.connect("autodoc-skip-member", skip_matplotlibs)
