"""What is asked and answered, as the OpenAPI description says it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel, ValidationError
from tokenizers import Tokenizer, normalizers

import loraloom
from bench.random_adapters import save_random_adapter
from loraloom.errors import AdapterError, LoraloomError, OptionError
from loraloom.intervals import wilson_interval
from loraloom.metrics import softmax
from loraloom.study.record import Result, Score
from loraloom.use.serve.app import STUCK_SECONDS, make_app
from loraloom.use.serve.batching import Batcher
from loraloom.use.serve.limits import Access, Limits, Settings
from loraloom.use.serve.messages import AddRequest, ClassifyRequest, ExplainRequest, HubRequest
from loraloom.use.serve.occlusion import parts_of
from loraloom.use.serve.registry import Registry, Served, listed, named_adapters
from tests.numerics.architectures import CONFIGS, save_model
from tests.use.serve.servers import LABELS, client_of, load_registry, running

KEY, OTHER, TOKEN = "k" * 20, "o" * 20, "t" * 20
TEXTS = ["the cat near a dog", "old bread with cheese", "x", "a hammer and a saw and a drill"]


@pytest.fixture(scope="module")
def client(registry: Registry) -> Iterator[TestClient]:
    with client_of(registry) as made:
        yield made


@pytest.mark.parametrize("name", LABELS)
def test_texts_are_answered_in_order_as_the_adapter_alone_predicts_them(
    client: TestClient, adapter_folders: dict[str, Path], name: str
) -> None:
    answer = client.post("/v1/classify", json={"adapter": name, "texts": TEXTS})
    assert answer.status_code == 200
    expected = loraloom.load(adapter_folders[name]).predict_proba(TEXTS)
    results = answer.json()["results"]
    found = [[result["probabilities"][label] for label in LABELS[name]] for result in results]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert [result["label"] for result in results] == [LABELS[name][best] for best in expected.argmax(axis=1)]
    assert [result["confidence"] for result in results] == [max(row) for row in found]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"texts": TEXTS}, 422, "name one of animals, food, tools"),
        ({"adapter": "none", "texts": TEXTS}, 404, "no such adapter"),
        ({"adapter": "food"}, 422, "texts"),
        ({"adapter": "food", "texts": []}, 422, "texts"),
        ({"adapter": "food", "texts": "one"}, 422, "texts"),
        ({"adapter": "food", "texts": [1]}, 422, "texts.0"),
        ({"adapter": "food", "texts": ["a", ""]}, 422, "texts.1: has no text"),
        ({"adapter": "food", "texts": [" \n"]}, 422, "texts.0: has no text"),
        ({"adapter": "food", "texts": ["so\0up"]}, 422, "texts.0: has U+0000 at character 2, which is no character"),
        ({"adapter": "food", "texts": ["a"], "more": 1}, 422, "more"),
        ({"adapter": 7, "texts": ["a"]}, 422, "adapter"),
        (["a"], 422, "body"),
        (None, 422, "body"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(client: TestClient, body: Any, status: int, says: str) -> None:
    answer = client.post("/v1/classify", json=body)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v1/classify", '{"adapter": "food"}', "body.texts: is missing"),
        ("/v1/classify", '{"adapter": "food", "texts": []}', "body.texts: is empty"),
        ("/v1/classify", '{"adapter": "food", "texts": "one"}', "body.texts: is not a list"),
        ("/v1/classify", '{"adapter": "food", "texts": [1]}', "body.texts.0: is not text"),
        ("/v1/classify", '{"adapter": "food", "texts": ["a"], "more": 1}', "body.more: is no field of this request"),
        ("/v1/classify", '["a"]', "body: is not a JSON object"),
        ("/v1/classify", "null", "body: is not a JSON object"),
        ("/v1/classify", "", "body: is missing"),
        ("/v1/classify", '{"adapter": "food",', "the body can't be read: it is no JSON from character 19 on"),
        ("/models/food", '{"inputs": 5}', "body.inputs: is not text"),
        ("/models/food", '{"inputs": "a", "parameters": 5}', "body.parameters: is not a JSON object"),
        ("/models/food", '{"inputs": "a", "parameters": {"top_k": 0}}', "body.parameters.top_k: must be 1 or more"),
        (
            "/models/food",
            '{"inputs": "a", "parameters": {"top_k": 2.5}}',
            "body.parameters.top_k: is not a whole number",
        ),
        (
            "/models/food",
            '{"inputs": "a", "parameters": {"function_to_apply": "tanh"}}',
            "body.parameters.function_to_apply: must be 'softmax', 'sigmoid' or 'none'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_json(client: TestClient, path: str, body: str, says: str) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (422, {"error": says})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b'{"adapter": "food", "texts": ["\\ud800"]}', b'{"adapter": "food", "texts": [NaN]}',
        b'{"texts": ' + b"[" * 100_000, b'{"adapter": "food", "texts": [' + b"9" * 6000 + b"]}", b"null", b'"a"',
        b'{"\\ud800": 1}',
    ],
)  # fmt: skip
def test_bytes_that_are_no_request_are_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"texts": ["\xff"]}', "it is not UTF-8"),
        (b'{"adapter": "food", "texts": ["a"], "texts": ["b"]}', "it names a key twice"),
        (b'{"texts": ' + b"[" * 100_000, "its JSON is nested too deeply"),
        (b'{"texts": [' + b"9" * 6000 + b"]}", "an integer in it has more than 4,300 digits"),
    ],
)
def test_a_body_that_can_not_be_read_is_told_why(client: TestClient, body: bytes, why: str) -> None:
    answer = client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (422, {"error": f"the body can't be read: {why}"})


@pytest.mark.parametrize(
    ("request_of", "body"),
    [
        (ClassifyRequest, {"texts": [0] * 1000}),
        (ClassifyRequest, {"texts": ["a"] + [""] * 1000}),
        (ClassifyRequest, {str(number): 0 for number in range(1000)}),
        (ExplainRequest, {str(number): 0 for number in range(1000)}),
        (AddRequest, {str(number): 0 for number in range(1000)}),
        (HubRequest, {"inputs": [0] * 1000}),
    ],
)
def test_a_body_of_many_faults_costs_no_more_than_one(request_of: type[BaseModel], body: Any) -> None:
    with pytest.raises(ValidationError) as raised:
        request_of.model_validate(body)
    assert raised.value.error_count() == 1


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_is_not_called_json_is_told_the_header_that_it_lacks(client: TestClient, kind: str) -> None:
    body = json.dumps({"adapter": "food", "texts": ["a"]})
    answer = client.post("/v1/classify", content=body, headers={"content-type": kind})  # the first is curl's by itself
    assert answer.status_code == 422
    assert "content-type: application/json" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/v1/classify/", "/models/food/", "/v1/adapters/"])
def test_no_client_is_sent_to_another_place(client: TestClient, path: str) -> None:
    headers = {"host": "elsewhere.example"}
    answer = client.post(path, json={"texts": ["a"]}, headers=headers, follow_redirects=False)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert answer.json()["error"].startswith("there is no such route; GET /openapi.json")
    assert "location" not in answer.headers


def test_one_adapter_needs_no_name(alone: Registry) -> None:
    with client_of(alone) as client:
        assert client.post("/v1/classify", json={"texts": ["a cat"]}).json()["adapter"] == "animals"
        assert client.post("/", json={"inputs": "a cat"}).status_code == 200


def test_adapters_are_listed(client: TestClient) -> None:
    cards = client.get("/v1/adapters").json()["adapters"]
    assert [(card["name"], tuple(card["labels"])) for card in cards] == list(LABELS.items())
    assert cards[0]["trainable_parameters"] > 0
    assert [(card["test_rows"], card["test_interval"] is None) for card in cards] == [(None, True)] * 3
    assert [card["class_shares"] for card in cards] == [None] * 3
    assert [card["is_blend"] for card in cards] == [False] * 3


def test_a_card_has_the_results_of_its_adapter_on_both_sets(adapter_folders: dict[str, Path]) -> None:
    registry = load_registry({"food": adapter_folders["food"]})
    classifier = registry.find(None).classifier
    validation, test = (Score(examples=20, accuracy=share, macro_f1=0.5, loss=0.7) for share in (0.6, 0.5))
    result = Result(validation=validation, test=test)
    record = classifier.record = classifier.record.model_copy(update={"result": result})
    with client_of(registry) as client:
        (card,) = client.get("/v1/adapters").json()["adapters"]
    assert (card["validation_accuracy"], card["test_accuracy"], card["test_rows"]) == (0.6, 0.5, 20)
    assert card["test_interval"] == pytest.approx(wilson_interval(10, 20))
    assert card["backbone"] == Path(record.configuration.backbone.model).name
    assert (card["dtype"], card["max_length"]) == ("fp32", record.configuration.data.max_length)
    assert card["trainable_parameters"] == record.counts.trainable


def test_a_server_that_is_told_class_shares_answers_for_them_by_every_route(validated: Path) -> None:
    shares = dict(zip(LABELS["animals"], (0.1, 0.1, 0.8), strict=True))
    told, plain = loraloom.load(validated, class_shares=shares), loraloom.load(validated)
    expected = told.predict_proba(TEXTS)
    assert not np.allclose(expected, plain.predict_proba(TEXTS), atol=0.01)
    with client_of(load_registry({"animals": validated}, shares)) as client:
        (card,) = client.get("/v1/adapters").json()["adapters"]
        assert card["class_shares"] == pytest.approx(shares)
        results = client.post("/v1/classify", json={"texts": TEXTS}).json()["results"]
        found = [list(result["probabilities"].values()) for result in results]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert [result["label"] for result in results] == told.predict(TEXTS)

        explained = client.post("/v1/explain", json={"text": TEXTS[0]}).json()
        label, word = told.labels.index(explained["label"]), explained["words"][1]
        without = TEXTS[0][: word["start"]] + TEXTS[0][word["stop"] :]
        assert explained["confidence"] == pytest.approx(expected[0].max(), abs=1e-5)
        loss = expected[0, label] - told.predict_proba([without])[0, label]
        assert word["weight"] == pytest.approx(loss, abs=1e-5)

        def of_hub(function: str) -> list[float]:
            body = {"inputs": TEXTS[0], "parameters": {"function_to_apply": function}}
            (scores,) = client.post("/", json=body).json()
            by_label = {score["label"]: score["score"] for score in scores}
            return [by_label[name] for name in told.labels]

        assert of_hub("softmax") == pytest.approx(expected[0], abs=1e-5)
        assert of_hub("none") == pytest.approx(plain.logits(TEXTS)[0], abs=1e-4)


def test_an_adapter_that_can_not_answer_for_the_servers_class_shares_is_refused(
    validated: Path, adapter_folders: dict[str, Path]
) -> None:
    registry = load_registry({"animals": validated}, "balanced")
    with pytest.raises(AdapterError, match="food: which class shares it expects is not known"):
        registry.add("food", adapter_folders["food"])
    told = Registry({"sweet": 1, "salty": 9})
    with pytest.raises(OptionError, match=f"^{validated}: class_shares: 'sweet' is none of the labels"):
        told.add("animals", validated)
    assert told.all() == ()


def test_words_that_mattered_are_those_without_which_the_probability_falls(
    client: TestClient, adapter_folders: dict[str, Path]
) -> None:
    text = "the cat  near\na dog"
    answer = client.post("/v1/explain", json={"adapter": "food", "text": text}).json()
    assert answer["method"] == "occlusion"
    assert [text[word["start"] : word["stop"]] for word in answer["words"]] == text.split()
    classifier = loraloom.load(adapter_folders["food"])
    label = classifier.labels.index(answer["label"])
    whole, without = classifier.predict_proba([text, text.replace("cat", "")])[:, label]
    assert answer["words"][1]["weight"] == pytest.approx(whole - without, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("股价 大跌。", "股 价 大 跌 。"),
        ("iPhoneの値段", "iPhone の 値 段"),
        ("กี่บาท", "กี่ บ า ท"),
        ("か\u3099く", "か\u3099 く"),
        ("주가 하락, café नमस्ते", "주가 하락, café नमस्ते"),
    ],
)
def test_where_a_script_has_no_blanks_between_words_characters_are_left_out(
    client: TestClient, text: str, parts: str
) -> None:
    words = client.post("/v1/explain", json={"adapter": "animals", "text": text}).json()["words"]
    assert [text[word["start"] : word["stop"]] for word in words] == parts.split()


@pytest.mark.parametrize("text", ["x", "word " * 5000, "あいうえお", "短い文、" * 5000, "a" * 50_000])
def test_any_text_can_be_explained_in_at_most_64_parts(client: TestClient, text: str) -> None:
    answer = client.post("/v1/explain", json={"adapter": "animals", "text": text})
    assert answer.status_code == 200
    assert len(answer.json()["words"]) <= 64


@pytest.mark.parametrize(("text", "weighed"), [("x", []), ("w5", ["w", "5"]), ("w5 \u200b", ["\u200b"])])
def test_a_word_without_which_the_tokenizer_makes_no_token_is_not_weighed(
    tmp_path: Path, text: str, weighed: list[str]
) -> None:
    model = save_model("bert", tmp_path / "model")  # whose tokenizer adds no token of its own
    fast = Tokenizer.from_file(str(model / "tokenizer.json"))
    fast.normalizer = normalizers.Replace("\u200b", "")
    fast.save(str(model / "tokenizer.json"))
    registry = Registry()
    registry.add("words", save_random_adapter(tmp_path / "adapter", model))
    with client_of(registry) as client:
        answer = client.post("/v1/explain", json={"text": text})
        assert answer.status_code == 200, answer.json()
        assert [text[word["start"] : word["stop"]] for word in answer.json()["words"]] == weighed
        assert client.post("/v1/explain", json={"text": "\u200b"}).status_code == 422


def test_of_the_longest_texts_two_parts_are_left_out_and_none_where_no_text_more_is_computed() -> None:
    assert parts_of("a" * 300_000, 64) == [(0, 150_000), (150_000, 300_000)]
    assert parts_of("a b", 0) == []


@pytest.mark.parametrize(
    ("route", "body"), [("/v1/classify", {"texts": ["w5", "w30"]}), ("/v1/explain", {"text": "w30"})]
)
def test_a_text_that_the_model_can_not_read_is_refused_and_not_repeated(
    tmp_path: Path, route: str, body: dict[str, Any]
) -> None:
    config = CONFIGS["bert"]()
    config.vocab_size = 30  # where its tokenizer has 60
    registry = Registry()
    registry.add("words", save_random_adapter(tmp_path / "adapter", save_model("bert", tmp_path / "model", config)))
    with client_of(registry) as client:
        answer = client.post(route, json=body)
        assert answer.status_code == 422
        assert answer.json()["error"].endswith("makes no token, or one that its model has no embedding of")
        assert client.post("/v1/classify", json={"texts": ["w29"]}).status_code == 200


@pytest.mark.parametrize(("route", "field"), [("/v1/explain", "text"), ("/", "inputs")])
def test_a_text_without_a_character_is_refused_everywhere(alone: Registry, route: str, field: str) -> None:
    with client_of(alone) as client:
        answer = client.post(route, json={field: " "})
    assert (answer.status_code, "has no text" in answer.json()["error"]) == (422, True)


@pytest.mark.parametrize(
    ("inputs", "says"), [(["good", ""], "body.inputs.1: has no text"), ([1], "body.inputs.0: "), (1, "body.inputs: ")]
)
def test_what_is_wrong_with_inputs_of_the_hub_is_said_of_what_was_sent(
    client: TestClient, inputs: Any, says: str
) -> None:
    answer = client.post("/models/food", json={"inputs": inputs})
    assert (answer.status_code, answer.json()["error"].startswith(says)) == (422, True), answer.json()


def test_the_hubs_default_says_where_one_of_several_adapters_is(client: TestClient) -> None:
    answer = client.post("/", json={"inputs": "a"})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("several adapters are served; ask /models/NAME, NAME being one of animals")


def test_the_hubs_own_client_is_answered(registry: Registry, adapter_folders: dict[str, Path]) -> None:
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError

    with running(registry) as server:
        hub = InferenceClient(model=f"{server.url}/models/tools")
        found = hub.text_classification("a hammer", top_k=2)
        scores = loraloom.load(adapter_folders["tools"]).predict_proba(["a hammer"])[0]
        best = scores.argsort()[::-1][:2]
        assert [each.label for each in found] == [LABELS["tools"][index] for index in best]
        assert [each.score for each in found] == pytest.approx(scores[best].tolist(), abs=1e-5)
        with pytest.raises(HfHubHTTPError, match="404"):
            InferenceClient(model=f"{server.url}/models/other").text_classification("a")


@pytest.mark.parametrize(
    ("chosen", "scores"),
    [("softmax", softmax), ("sigmoid", lambda logits: 1 / (1 + np.exp(-logits))), ("none", lambda logits: logits)],
)
def test_the_hubs_parameters_mean_what_they_mean_there(
    client: TestClient, adapter_folders: dict[str, Path], chosen: str, scores: Callable[[Any], Any]
) -> None:
    texts, labels = ["a cat", "bread"], LABELS["tools"]
    body = {"inputs": texts, "parameters": {"function_to_apply": chosen}}
    lists = client.post("/models/tools", json=body).json()
    for each, row in zip(lists, scores(loraloom.load(adapter_folders["tools"]).logits(texts)), strict=True):
        best = row.argsort()[::-1]
        assert [score["label"] for score in each] == [labels[index] for index in best]
        assert [score["score"] for score in each] == pytest.approx(row[best].tolist(), abs=1e-4)
    assert client.post("/models/tools", json={"inputs": []}).json() == []


def test_health_readiness_and_metrics(client: TestClient) -> None:
    client.post("/v1/classify", json={"adapter": "food", "texts": ["a", "b"]})
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    assert [client.head(path).status_code for path in ("/", "/healthz", "/readyz")] == [200] * 3
    said = client.get("/metrics").text
    assert 'loraloom_requests_total{route="/v1/classify",status="200"}' in said
    assert 'loraloom_texts_total{adapter="food"}' in said
    assert "loraloom_adapters 3.0" in said


def test_it_is_not_ready_while_a_batch_hangs(alone: Registry) -> None:
    with client_of(alone) as client:
        batcher = cast(Any, client.app).state.batcher
        batcher.busy_since = time.monotonic() - STUCK_SECONDS / 2
        assert client.get("/readyz").json() == {"status": "ok"}
        batcher.busy_since -= STUCK_SECONDS
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "stuck"})
        assert client.get("/healthz").status_code == 200


def test_it_is_not_ready_while_it_drains_or_has_no_adapter(alone: Registry) -> None:
    client = TestClient(make_app(alone, Settings()))  # whose threads have not begun
    assert client.get("/readyz").json() == {"status": "starting"}
    with client_of(Registry()) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "empty"})
        answer = client.post("/v1/classify", json={"texts": ["a"]})
        assert (answer.status_code, answer.json()) == (422, {"error": "adapter: none is served"})
        assert client.get("/healthz").status_code == 200
    with client_of(alone) as client:
        client.app.state.draining = True  # type: ignore[attr-defined]
        assert client.get("/readyz").json() == {"status": "draining"}
    with client_of(alone) as client:
        client.app.state.batcher.device_lost = True  # type: ignore[attr-defined]
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "lost"})


def test_the_description_has_an_example_that_is_answered(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    for name in ("ClassifyRequest", "ExplainRequest", "HubRequest", "AddRequest", "ClassifyAnswer"):
        assert schemas[name]["examples"], name
    example = {**schemas["ClassifyRequest"]["examples"][0], "adapter": "food"}
    assert client.post("/v1/classify", json=example).status_code == 200


def test_the_page_of_serving_shows_what_an_answer_holds(client: TestClient) -> None:
    page = (Path(__file__).parents[3] / "docs" / "serve.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^is answered by `(\{.*\})`", page, re.MULTILINE)
    answer = client.post("/v1/classify", json={"adapter": "food", "texts": ["a"]}).json()
    keys = [*answer, *answer["results"][0]]
    assert len(keys) == 5
    assert re.findall(r'"(\w+)": ', shown)[: len(keys)] == keys


def test_the_page_of_serving_has_every_status_that_is_described(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"].values()
    described = {status for methods in paths for method in methods.values() for status in method["responses"]}
    page = (Path(__file__).parents[3] / "docs" / "serve.md").read_text(encoding="utf-8")
    refusals = {one for one in described if one >= "400"} | {"405"}  # of a method that no route has
    assert set(re.findall(r"^\| (\d{3})\b", page, re.MULTILINE)) == refusals
    by_another = client.put("/v1/classify")
    assert by_another.status_code == 405
    assert by_another.json()["error"].startswith("this route takes no such method; GET /openapi.json")


def test_the_description_has_the_503_of_every_request_with_a_body(client: TestClient) -> None:
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods.keys() - {"get"}:
            assert "the server is ending" in methods[method]["responses"]["503"]["description"], (method, path)


def test_keys_are_asked_for_where_they_are_given(alone: Registry) -> None:
    settings = Settings(access=Access(keys=(KEY, OTHER)))
    with client_of(alone, settings) as client:
        for path in ("/v1/adapters", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 401
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 200
        body = {"texts": ["a"]}
        assert client.post("/v1/classify", json=body).headers["www-authenticate"] == "Bearer"
        for wrong in ("", "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", f"Bearer {KEY[:-1]}"):
            refused = client.post("/v1/classify", json=body, headers={"authorization": wrong})
            assert refused.status_code == 401
        for key in (KEY, OTHER):
            answer = client.post("/v1/classify", json=body, headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 200


def test_other_pages_may_ask_only_where_their_origin_is_given(alone: Registry) -> None:
    page, allowed = {"origin": "https://a.org"}, "access-control-allow-origin"
    asked = page | {"access-control-request-method": "POST"}
    asked |= {"access-control-request-headers": "authorization, content-type"}
    with client_of(alone) as client:
        assert allowed not in client.get("/healthz", headers=page).headers
        assert client.options("/v1/classify", headers=asked).status_code == 405
    with client_of(alone, Settings(access=Access(keys=(KEY,), origins=("https://a.org",)))) as client:
        assert client.options("/v1/classify", headers=asked).status_code == 200
        for key, status in ((KEY, 200), (OTHER, 401)):
            headers = page | {"authorization": f"Bearer {key}"}
            answer = client.post("/v1/classify", json={"texts": ["a"]}, headers=headers)
            assert (answer.status_code, answer.headers.get(allowed)) == (status, "https://a.org")
        other = client.options("/v1/classify", headers=asked | {"origin": "https://b.org"})
        assert allowed not in other.headers


def test_a_name_that_was_made_to_lead_here_is_refused(alone: Registry) -> None:
    with client_of(alone, Settings(access=Access(hosts=("localhost", "127.0.0.1")))) as client:
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 421
        assert client.get("/healthz", headers={"host": "LOCALHOST:8000"}).status_code == 200


def test_the_time_of_a_request_counts_from_its_arrival(alone: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    computed, heard = Batcher.logits, list[float]()

    async def noted(batcher: Batcher, served: Served, texts: Any, seconds: float, began: float) -> Any:
        heard.append(began)
        return await computed(batcher, served, texts, seconds, began)

    monkeypatch.setattr(Batcher, "logits", noted)
    with client_of(alone) as client:
        before = time.monotonic()
        assert client.post("/v1/classify", json={"texts": ["a"]}).status_code == 200
    assert before <= heard[0] <= time.monotonic()


def test_a_fault_is_answered_by_its_kind_alone(alone: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Batcher, "logits", broken)
    with TestClient(make_app(alone, Settings()), raise_server_exceptions=False) as client:
        answer = client.post("/v1/classify", json={"texts": ["a"]})
        assert (answer.status_code, answer.json()) == (500, {"error": "a fault of the server's: RuntimeError"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/healthz").status_code == 200


def test_logs_hold_texts_only_where_asked_for(alone: Registry, caplog: pytest.LogCaptureFixture) -> None:
    for settings, there in ((Settings(), False), (Settings(log_texts=True), True)):
        caplog.clear()
        with caplog.at_level("INFO", "loraloom.serve"), client_of(alone, settings) as client:
            client.post("/v1/classify", json={"texts": ["a secret"]})
            client.post("/v1/classify/a%20secret", json={"texts": ["a secret", 1]})
        assert ("secret" in caplog.text) == there
        assert "/v1/classify 200" in caplog.text


def test_logs_and_metrics_say_what_was_asked_by_no_word_of_a_client(
    alone: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(access=Access(hosts=("testserver",)))
    with caplog.at_level("INFO", "loraloom.serve"), client_of(alone, settings) as client:
        client.get("/openapi.json")
        client.get("/docs/secret")
        client.get("/healthz", headers={"host": "secret.example"})
        client.request("SECRET", "/v1/classify")
        client.put("/models/secret")
        metrics = client.get("/metrics").text
    lines = [record.getMessage().rsplit(" ", 2)[0] for record in caplog.records if record.name == "loraloom.serve"]
    routes = ["/openapi.json", "unknown", "refused", "/v1/classify", "/models/{name}"]
    words = ["GET", "-", "-", "-", "PUT"]
    answers = [200, 404, 421, 405, 405]
    assert lines[:5] == [" ".join(map(str, line)) for line in zip(words, routes, answers, strict=True)]
    for route, status in zip(routes, answers, strict=True):
        assert f'loraloom_requests_total{{route="{route}",status="{status}"}} 1.0' in metrics
    assert "secret" not in metrics.lower()


def test_limits_of_a_request(alone: Registry) -> None:
    with client_of(alone, Settings(Limits(texts=2, characters=10, body_bytes=500))) as client:
        for texts, says in (
            (["a"] * 3, "3 are more than the 2"),
            (["a" * 11], "11 characters"),
            (["a"] * 300, "bytes"),
        ):
            answer = client.post("/v1/classify", json={"texts": texts})
            assert (answer.status_code, says in answer.json()["error"]) == (413, True), answer.text
        assert 'loraloom_rejected_total{reason="body"} 1.0' in client.get("/metrics").text
        assert client.post("/v1/explain", json={"text": "a" * 11}).status_code == 413
        explained = client.post("/v1/explain", json={"text": "a b c"})  # fewer parts, and no more texts
        assert (explained.status_code, len(explained.json()["words"])) == (200, 1)
        assert client.post("/v1/classify", json={"texts": ["a" * 10] * 2}).status_code == 200


def test_a_compressed_body_is_not_unpacked(alone: Registry) -> None:
    import gzip

    body = gzip.compress(json.dumps({"texts": ["a" * 10_000_000]}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    with client_of(alone) as client:
        assert client.post("/v1/classify", content=body, headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["runs/demo/best"], ["demo"]),
        (["runs/My Run/trials/0007"], ["my-run-0007"]),
        (["runs/a/refit", "runs/b/refit"], ["a-refit", "b-refit"]),
        (["adapters/news", "/", "/best"], ["news", "adapter", "best"]),
        (["a=runs/demo/best", "runs/demo/best"], ["a", "demo"]),
        (["runs/a=b/best"], ["a-b"]),
        (["runs/a/soup", "runs/a/blend"], ["a-soup", "a-blend"]),
        (["runs/__/best", "runs/-B_/best", f"runs/{'a' * 70}/best"], ["adapter", "b", "a" * 64]),
    ],
)
def test_adapters_are_named_after_their_runs(arguments: list[str], names: list[str]) -> None:
    assert [name for name, _ in named_adapters(arguments)] == names


def test_a_link_to_itself_has_a_name_too(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    assert named_adapters([str(tmp_path / "a")]) == [("a", tmp_path / "a")]


@pytest.mark.parametrize("arguments", [["A=x"], ["=x"], ["a=x", "a=y"], ["x/best", "y/x/best"], ["a" * 65 + "=x"]])
def test_names_that_can_not_be_are_refused(arguments: list[str]) -> None:
    with pytest.raises(LoraloomError, match="name"):
        named_adapters(arguments)


def test_of_many_names_the_first_ten_are_listed() -> None:
    assert listed([str(number) for number in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert listed([]) == "none"
