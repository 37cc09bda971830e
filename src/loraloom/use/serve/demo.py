"""The demo page: one file of HTML, style and script, which asks nobody but its own server.

It has the report's style sheet, so that both look alike. Its content security policy lets through its own style and
script by their hashes, and requests to its own server.
"""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loraloom.report.policy import source_hash


def demo_page() -> tuple[str, str]:
    """The page, and its content security policy."""
    own = Environment(loader=PackageLoader("loraloom.use.serve", "page"), autoescape=True, undefined=StrictUndefined)
    report = Environment(loader=PackageLoader("loraloom.report"), autoescape=True)
    style = "\n" + _source(report, "page.css") + _source(own, "demo.css")
    script = "\n" + _source(own, "demo.js")
    page = own.get_template("demo.html.jinja").render(style=Markup(style), script=Markup(script))  # noqa: S704
    policy = (
        f"default-src 'none'; style-src '{source_hash(style)}'; script-src '{source_hash(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
