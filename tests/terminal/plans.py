"""A plan of a search, for what is said of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from loraloom.recipe import read_recipe
from loraloom.search.outlook import Outlook
from loraloom.search.watcher import SearchPlan


def make_plan(outlook: Outlook, **known: Any) -> SearchPlan:
    """Of one configuration, but for what is `known`."""
    plan = SearchPlan(read_recipe({}), Path("run"), "rows", ("a", "b"), (1, 1, 1), 1, 0, (), "loom", "known", outlook)
    return replace(plan, **known)
