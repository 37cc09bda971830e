"""The page's sections in their order: each is a template `<name>.html.jinja` whose `<section>` has the id `<name>`.

A section that has nothing to say renders nothing, and then has no entry in the navigation either.
"""

from __future__ import annotations

SECTIONS = {
    "answer": "Answer",
    "leaderboard": "Leaderboard",
    "tradeoffs": "Size and time",
    "effects": "Effects",
    "training": "Training",
    "failures": "Where it fails",
    "data": "Data",
    "similarity": "Similarity",
    "against": "Two runs",
    "making": "How it was made",
}
"""What the navigation calls each."""
