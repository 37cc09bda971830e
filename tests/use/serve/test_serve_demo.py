"""The demo page in a real browser: typing, probabilities, words that mattered, another adapter, the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

import loraloom
from loraloom.use.serve.limits import Access, Settings
from loraloom.use.serve.registry import Registry
from tests.report.browser import serious_violations
from tests.use.hostile import blend_of
from tests.use.serve.servers import LABELS, Running, load_registry, running

TEXT = "the cat <img src=x onerror=window.pwned=1> near a dog"
KEY, OTHER = "k" * 20, "o" * 20
TOLD = "its answers are for the class shares that the server was told"
expect.set_options(timeout=60_000)  # words are weighed by as many passes of a model: five seconds may not do


@pytest.fixture(scope="module")
def server(registry: Registry) -> Iterator[Running]:
    with running(registry) as made:
        yield made


@contextmanager
def opened(
    browser: Browser, server: Running, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what it said or asked of others."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    said: list[str] = []
    try:
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(server.url) else said.append(asked.url))
        page.goto(server.url)
        expect(page.locator("#text")).to_be_focused()  # by itself, some time after the page was loaded
        yield page, said
    finally:
        context.close()


def test_a_text_is_classified_while_it_is_typed_and_its_words_are_weighed(
    browser: Browser, server: Running, adapter_folders: dict[str, Path]
) -> None:
    with opened(browser, server) as (page, said):
        page.keyboard.type(TEXT)  # the text has the focus
        expected = loraloom.load(adapter_folders["animals"]).predict([TEXT])[0]
        expect(page.locator("#label")).to_have_text(expected)
        expect(page.locator("#bars li")).to_have_count(3)
        expect(page.locator("#words mark")).to_have_count(len(TEXT.split()))
        expect(page.locator("#words")).to_have_text(TEXT)
        expect(page.locator("#method")).to_contain_text(
            "Occlusion: each word is left out in turn, and the stronger a mark is"
        )
        page.locator("#text").fill("cheese")
        expect(page.locator("#method")).to_contain_text("Occlusion: each character is left out in turn")
        page.locator("#text").fill("股价 大跌")
        expect(page.locator("#words mark")).to_have_count(4)
        expect(page.locator("#method")).to_contain_text("Occlusion: each character is left out in turn")
        page.locator("#text").fill("iPhone 的股价 " * 20)
        expect(page.locator("#method")).to_contain_text("Occlusion: one or several characters are left out in turn")
        assert page.evaluate("window.pwned") is None
        assert not said


def test_an_answer_does_not_stand_under_a_text_that_was_refused(browser: Browser, server: Running) -> None:
    with opened(browser, server) as (page, _):
        page.keyboard.type("bread and cheese")
        expect(page.locator("#results")).to_be_visible()
        page.locator("#text").fill("a" * 60_000)
        expect(page.locator("#status")).to_have_class("bad")
        expect(page.locator("#results")).to_be_hidden()


def test_shares_are_rounded_so_that_none_but_certainty_seems_certain(browser: Browser, server: Running) -> None:
    shown = {
        1: "100 %", 0.99996: ">99.99 %", 0.99994: "99.99 %", 0.9995: "99.95 %", 0.9994: "99.9 %", 0.1: "10.0 %",
        0.0994: "9.94 %", 0.00005: "0.01 %", 0.00004: "<0.01 %", 0: "0 %",
    }  # fmt: skip
    with opened(browser, server) as (page, _):
        assert page.evaluate("shares => shares.map(percent)", list(shown)) == list(shown.values())


def test_an_answer_is_drawn_as_it_came(browser: Browser, server: Running) -> None:
    """Bars by their shares, words by what the label's probability loses without them."""
    of_text = {"label": "dog", "confidence": 0.7, "probabilities": {"cat": 0.1, "dog": 0.7, "<b>cow</b>": 0.2}}
    places = [(0, 3, 0.4), (4, 7, -0.1), (8, 11, 0.02)]
    words = [dict(zip(("start", "stop", "weight"), place, strict=True)) for place in places]
    with opened(browser, server) as (page, said):
        page.route("**/v1/classify", lambda route: route.fulfill(json={"adapter": "animals", "results": [of_text]}))
        page.route("**/v1/explain", lambda route: route.fulfill(json={**of_text, "words": words}))
        page.locator("#text").fill("one two six")
        expect(page.locator("#words mark")).to_have_text(["one", "two", "six"])
        expect(page.locator("#results")).to_have_class("results")  # no longer pale, as what is waited for
        expect(page.locator("#label")).to_have_text("dog")
        expect(page.locator("#confidence")).to_have_text("70.0 %")
        expect(page.locator("#bars li > span:first-child")).to_have_text(["dog", "<b>cow</b>", "cat"])
        expect(page.locator("#bars li > b")).to_have_text(["70.0 %", "20.0 %", "10.0 %"])
        assert page.evaluate("[...document.querySelectorAll('#bars i')].map(one => one.style.width)") == [
            "70%",
            "20%",
            "10%",
        ]
        marks = page.evaluate(
            "[...document.querySelectorAll('#words mark')].map(one => [one.className, one.title, "
            "...['--share', '--line-share'].map(name => one.style.getPropertyValue(name))])"
        )
        assert marks == [
            ["for", "without it: 30.0 %", "46.0%", "100.0%"],
            ["against", "without it: 80.0 %", "11.5%", "25.0%"],
            ["for", "without it: 68.0 %", "2.3%", "0.0%"],
        ]
        expect(page.locator("#method")).to_contain_text("probability of “dog” changes (40.0 points at most).")
        words[:] = [{"start": 0, "stop": 7, "weight": 0.01}]
        page.locator("#text").fill("one two")
        expect(page.locator("#method")).to_contain_text("several words together are left out in turn")
        assert page.locator("#words mark").evaluate("one => one.style.getPropertyValue('--share')") == "23.0%"
        words.clear()
        page.locator("#text").fill("one")
        expect(page.locator("#method")).to_have_text(re.compile("^No word was left out: nothing would be left"))
        assert not said


@pytest.mark.parametrize(
    ("accuracy", "interval", "shares", "said"),
    [
        (0.9995, [0.998, 0.9999], None, ", accuracy 99.95 % (95 % interval 99.8 % to 99.99 %) on 2,000 test rows"),
        (0.9, None, None, ", accuracy 90.0 % on 2,000 test rows"),
        (0.9, None, {"a": 1}, f", accuracy 90.0 % on 2,000 test rows; {TOLD}, its accuracy is not"),
        (None, None, {"a": 1}, f"; {TOLD}"),
        (None, None, None, ""),
    ],
)
def test_what_is_known_of_an_adapter_stands_beside_its_name(
    browser: Browser,
    server: Running,
    accuracy: float | None,
    interval: list[float] | None,
    shares: dict[str, float] | None,
    said: str,
) -> None:
    tested = {"test_accuracy": accuracy, "test_rows": accuracy and 2_000, "test_interval": interval}
    about = {"labels": ["a", "b"], "backbone": "mini", "trainable_parameters": 12_345, "is_blend": False}
    adapters = [{"name": "one", "class_shares": shares, **about, **tested}]
    with opened(browser, server) as (page, _):
        page.route("**/v1/adapters", lambda route: route.fulfill(json={"adapters": adapters}))
        page.reload()
        expect(page.locator("#facts")).to_have_text(f"2 labels, encoder mini, 12,345 trained parameters{said}")
        expect(page.locator("#about")).to_have_text("One adapter is served. It classifies while you type.")
        adapters.clear()
        page.reload()
        expect(page.locator("#about")).to_have_text("No adapter is served.")


def test_a_page_that_another_server_answers_by_is_called_that(browser: Browser, server: Running) -> None:
    """As a proxy does whose server is down."""
    with opened(browser, server) as (page, _):
        page.route("**/v1/classify", lambda route: route.fulfill(status=502, body="<html>Bad Gateway</html>"))
        page.locator("#text").fill("a cat")
        expect(page.locator("#status")).to_have_text("No answer of the server's came: status 502")
        expect(page.locator("#results")).to_be_hidden()


def test_an_answer_stays_where_its_words_can_not_be_weighed(browser: Browser, server: Running) -> None:
    with opened(browser, server) as (page, _):
        page.route("**/v1/explain", lambda route: route.fulfill(status=503, json={"error": "come again later"}))
        page.locator("#text").fill("bread and cheese")
        expect(page.locator("#status")).to_have_text("come again later")
        expect(page.locator("#results")).to_be_visible()
        expect(page.locator("#method")).to_be_empty()


def test_another_adapter_is_chosen_by_the_keyboard(browser: Browser, server: Running) -> None:
    with opened(browser, server) as (page, said):
        page.keyboard.type("bread and cheese")
        expect(page.locator("#bars li")).to_have_count(3)
        page.keyboard.press("Shift+Tab")
        expect(page.locator("#adapter")).to_be_focused()
        page.keyboard.press("f")
        expect(page.locator("#facts")).to_contain_text("2 labels, encoder ")
        expect(page.locator("#bars li")).to_have_count(2)
        assert page.locator("#label").text_content() in LABELS["food"]
        assert not said


def test_adapters_are_listed_anew_where_the_chosen_one_is_gone(
    browser: Browser, adapter_folders: dict[str, Path]
) -> None:
    registry = load_registry({name: adapter_folders[name] for name in ("animals", "food")})
    with running(registry) as server, opened(browser, server) as (page, _):
        expect(page.locator("#facts")).to_contain_text("3 labels, encoder ")
        registry.remove("animals")
        page.keyboard.type("bread and cheese")
        expect(page.locator("#adapter option")).to_have_text(["food"])
        expect(page.locator("#facts")).to_contain_text("2 labels, encoder ")
        expect(page.locator("#bars li")).to_have_count(2)
        registry.remove("food")
        page.keyboard.type(" and more")
        expect(page.locator("#about")).to_have_text("No adapter is served.")
        expect(page.locator("#facts")).to_be_empty()
        expect(page.locator("#results")).to_be_hidden()


def test_class_shares_that_the_server_was_told_are_spoken_of(browser: Browser, validated: Path) -> None:
    with running(load_registry({"animals": validated}, "balanced")) as server, opened(browser, server) as (page, said):
        expect(page.locator("#facts")).to_contain_text(TOLD)
        assert not said


def test_a_blend_is_said_to_hold_more_than_its_trained_parameters(
    browser: Browser, adapter_folders: dict[str, Path], tmp_path: Path
) -> None:
    blend = blend_of(adapter_folders["animals"], tmp_path / "blend")
    with running(load_registry({"animals": blend})) as server, opened(browser, server) as (page, said):
        expect(page.locator("#facts")).to_contain_text("trained parameters and TF-IDF beside them")
        assert not said


def test_an_empty_text_shows_nothing_and_a_new_one_replaces_the_old(browser: Browser, server: Running) -> None:
    with opened(browser, server) as (page, _):
        text = page.locator("#text")
        text.fill("one two")
        expect(page.locator("#words mark")).to_have_count(2)
        text.fill("   ")
        expect(page.locator("#results")).to_be_hidden()
        expect(page.locator("#status")).to_be_empty()  # it was not asked for
        text.fill("\U0001f600 emoji first")
        expect(page.locator("#words mark")).to_have_count(3)
        assert page.locator("#words mark").first.text_content() == "\U0001f600"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_can_be_read_by_everybody_on_any_screen(
    browser: Browser, server: Running, scheme: Literal["light", "dark"], width: int
) -> None:
    with opened(browser, server, scheme=scheme, width=width) as (page, _):
        page.locator("#text").fill("a hammer and " + "unbroken" * 40)
        expect(page.locator("#words mark")).to_have_count(4)
        assert serious_violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_is_switched(browser: Browser, server: Running) -> None:
    with opened(browser, server, scheme="dark") as (page, _):
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        expect(page.locator("#theme")).to_have_text("Light")
        page.locator("#theme").click()
        expect(page.locator("#theme")).to_have_text("Dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_a_key_is_asked_for_where_the_server_asks_for_one(browser: Browser, alone: Registry) -> None:
    with running(alone, Settings(access=Access(keys=(KEY,)))) as server, opened(browser, server) as (page, _):
        expect(page.locator("#key")).to_be_visible()
        page.locator("#key").fill(KEY)
        page.locator("#text").fill("a cat")
        expect(page.locator("#bars li")).to_have_count(3)


def test_the_chosen_adapter_is_asked_with_the_key_that_was_entered_last(browser: Browser, registry: Registry) -> None:
    settings = Settings(access=Access(keys=(KEY, OTHER)))
    with running(registry, settings) as server, opened(browser, server) as (page, _):
        key = page.locator("#key")
        key.fill(KEY)
        key.press("Enter")
        page.locator("#adapter").select_option("food")
        page.locator("#text").fill("old bread")
        expect(page.locator("#words mark")).to_have_count(2)  # nothing more is to be asked of the first key
        key.fill(OTHER)
        with page.expect_request("**/v1/classify") as asked:
            key.press("Enter")
        assert asked.value.post_data_json == {"adapter": "food", "texts": ["old bread"]}
        assert asked.value.headers["authorization"] == f"Bearer {OTHER}"


def test_the_page_may_do_nothing_but_ask_its_own_server(server: Running) -> None:
    from urllib.request import urlopen

    with urlopen(server.url, timeout=60) as answer:  # noqa: S310
        policy, page = answer.headers["content-security-policy"], answer.read().decode()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert " style=" not in page


def test_a_server_that_is_gone_is_said_in_words(browser: Browser, server: Running) -> None:
    with opened(browser, server) as (page, _):
        page.route("**/v1/classify", lambda route: route.abort())
        page.keyboard.type("a cat")
        expect(page.locator("#status")).to_have_text("The server does not answer.")
        expect(page.locator("#results")).to_be_hidden()


def test_the_answer_is_what_is_read_out(browser: Browser, server: Running) -> None:
    with opened(browser, server) as (page, _):
        page.locator("#text").fill("a")
        expect(page.locator("#length")).to_have_text("1 character")
        expect(page.locator("[aria-live] #label")).not_to_be_empty()
        assert page.get_by_role("status").all_text_contents() == [page.locator("#status").text_content()]
