"""The documentation's site: what `mkdocs.yml` builds of docs/, and the pages that are made of the code.

`hooks.py` gives mkdocs the made pages: `commands.py`, `recipe_fields.py`, `python_names.py`, `exits.py` and
`notebooks.py` each write one. `executed.py` runs the tutorial's commands and puts their output into it, and `links.py`
looks at a built site: every link holds, and nothing is fetched from another host.
"""
