"""Requests and answers as they are on the wire: the source of the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from loraloom.data.cells import no_character
from loraloom.study.record import Dtype
from loraloom.use.serve.names import NAME

Name = Annotated[
    str,
    Field(pattern=f"^{NAME}$", max_length=64, description="An adapter's name.", examples=["news"]),
]


def _is_text(text: str) -> str:
    """Nothing is no text, as in training; nor is what holds NUL or halves of surrogate pairs, which JSON can spell."""
    if not text or text.isspace():
        raise ValueError("has no text")
    if problem := no_character(text):
        raise ValueError(problem)
    return text


MOST_FIELDS = 100
Text = Annotated[str, AfterValidator(_is_text), Field(description="A text to classify; not empty or blank.")]
Texts = Annotated[list[Text], Field(fail_fast=True)]
"""One error alone is made of them, since one is answered: a body could have half a million, which takes seconds."""
Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, value: Any) -> Any:
        """Each that is not known is an error of its own, and is not looked at where there are this many."""
        if isinstance(value, dict) and len(value) > MOST_FIELDS:
            raise ValueError(f"has {len(value):,} fields, and at most {MOST_FIELDS} are looked at")
        return value


class ClassifyRequest(_Strict):
    """Texts for one adapter."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"adapter": "news", "texts": ["Shares fell after the bank's warning."]}]}
    )
    adapter: Annotated[str | None, Field(description="May be left out where one adapter is served.")] = None
    texts: Annotated[Texts, Field(min_length=1, description="The texts, answered in their order.")]


class Classified(BaseModel):
    """What one text is."""

    label: Annotated[str, Field(description="The most probable label.")]
    confidence: Annotated[Probability, Field(description="Its probability.")]
    probabilities: Annotated[dict[str, Probability], Field(description="Of every label.")]


class ClassifyAnswer(BaseModel):
    """One result for each text, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "adapter": "news",
                    "results": [
                        {"label": "business", "confidence": 0.97, "probabilities": {"business": 0.97, "sport": 0.03}}
                    ],
                }
            ]
        }
    )
    adapter: str
    results: list[Classified]


class ExplainRequest(_Strict):
    """A text whose words are left out one by one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"adapter": "news", "text": "Shares fell after the bank's warning."}]}
    )
    adapter: Annotated[str | None, Field(description="May be left out where one adapter is served.")] = None
    text: Text


class Word(BaseModel):
    """A part of the text, by characters, and what the label's probability loses without it."""

    start: int
    stop: int
    weight: Annotated[float, Field(ge=-1, le=1)]


class ExplainAnswer(Classified):
    """What the text is, and which of its words mattered."""

    adapter: str
    method: Literal["occlusion"] = "occlusion"
    words: Annotated[
        list[Word],
        Field(
            description="In the text's order; characters of scripts without blanks between words. Of a long text, "
            "several are left out together as one part. One without which the adapter can't read the text is missing."
        ),
    ]


ONE, SEVERAL = "a text", "a list"
"""What inputs may be; of the other an error says nothing."""


class HubParameters(BaseModel):
    """The hub's parameters of text classification; others are ignored, as there."""

    model_config = ConfigDict(extra="ignore", strict=True)
    top_k: Annotated[int | None, Field(ge=1, description="How many labels; all by default.")] = None
    function_to_apply: Annotated[
        Literal["softmax", "sigmoid", "none"] | None, Field(description="What makes scores of logits; softmax.")
    ] = None


class HubRequest(BaseModel):
    """As the hub's clients send it."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        json_schema_extra={
            "examples": [{"inputs": "Shares fell after the bank's warning.", "parameters": {"top_k": 2}}]
        },
    )
    inputs: Annotated[
        Annotated[Text, Tag(ONE)] | Annotated[Texts, Tag(SEVERAL)],
        Discriminator(lambda value: SEVERAL if isinstance(value, list) else ONE),
        Field(description="A text, or several."),
    ]
    parameters: HubParameters | None = None


class HubScore(BaseModel):
    """A label and its score."""

    label: str
    score: float


class AdapterCard(BaseModel):
    """An adapter that is served."""

    name: str
    labels: list[str]
    backbone: str
    revision: str | None
    dtype: Dtype
    trainable_parameters: int
    is_blend: Annotated[
        bool, Field(description="TF-IDF, which trainable_parameters does not count, has a part in its answers.")
    ]
    max_length: Annotated[int, Field(description="Tokens at which texts are cut.")]
    validation_accuracy: float | None
    test_accuracy: float | None
    test_rows: Annotated[int | None, Field(description="Rows that it was tested on.")]
    test_interval: Annotated[tuple[float, float] | None, Field(description="95 % interval of the accuracy (Wilson).")]
    class_shares: Annotated[
        dict[str, Probability] | None,
        Field(description="For which shares of classes it answers, as the server was told; accuracies are without."),
    ]


class AdapterList(BaseModel):
    """All adapters that are served."""

    adapters: list[AdapterCard]


class AddRequest(_Strict):
    """An adapter to be served from now on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "news", "folder": "news-2"}]})
    name: Name
    folder: Annotated[
        str, Field(min_length=1, max_length=1024, description="A folder below the one that the server was given.")
    ]


class Health(BaseModel):
    """Whether the server lives, or is ready."""

    status: Literal["ok", "starting", "empty", "draining", "stuck", "lost"]


class Refusal(BaseModel):
    """Why a request was not answered, in a sentence."""

    error: str
