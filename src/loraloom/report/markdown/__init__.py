"""The findings as Markdown: `text.py` keeps what came from outside text, `sections.py` has the sections' order."""

from loraloom.report.markdown.sections import markdown

__all__ = ["markdown"]
