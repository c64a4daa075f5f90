"""How the documents become a site: Sphinx with the Furo theme, from Markdown by MyST. `scripts/docs.sh` builds it."""

project = "Tidemill"
author = "the Tidemill authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
master_doc = "index"

html_theme = "furo"
html_title = "Tidemill"
html_static_path: list[str] = []
html_show_copyright = False
html_show_sourcelink = False

myst_heading_anchors = 3
nitpicky = True
pygments_style = "friendly"
pygments_dark_style = "monokai"
