"""What makes matplotlib's SVG part of the page."""

from __future__ import annotations

from loraloom.report.svg import Mark, for_page

DRAWN = b'<svg xmlns="http://www.w3.org/2000/svg"><g id="points"><path d="M0 0"/></g></svg>'


def test_no_text_of_a_picture_has_characters_that_html_refuses() -> None:
    made = for_page(DRAWN, "shares", "Shares", "from \x00 to \x1b[31m", {"points": [Mark(3, "a \x7f trial")]})
    assert "from \ufffd to \ufffd[31m" in made
    assert "a \ufffd trial" in made
