"""What docs/questions.md tells people to run, run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from loraloom.backbone import sources
from loraloom.backbone.classifier import build_pretrained
from loraloom.errors import BackboneError
from loraloom.recipe import read_recipe

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"


def test_a_folder_of_safetensors_has_the_weights_of_the_bin_and_no_others(tmp_path: Path, tiny_model: Path) -> None:
    """A model of masked words has no pooler; transformers would draw one."""
    old, new = tmp_path / "old", tmp_path / "new"
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=99)
    BertForMaskedLM(config).save_pretrained(old)
    shutil.copy(tiny_model / "tokenizer.json", old)
    weights = BertForMaskedLM(config).state_dict()  # with weights that are shared, as pickles have them
    (old / "model.safetensors").unlink()
    torch.save(weights, old / "pytorch_model.bin")
    (code,) = re.findall(r'python -c "\n(.*?)\n" old-folder new-folder', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with pytest.raises(BackboneError, match="a pickle, which can run code"):
        sources.find(str(old))
    subprocess.run([sys.executable, "-c", code, str(old), str(new)], check=True)
    source = sources.find(str(new))
    assert not list(new.glob("*.bin"))
    assert (new / "tokenizer.json").exists()
    linear, native = (read_recipe({"head": {"kind": kind}}).configuration({}) for kind in ("linear", "native"))
    build_pretrained(source, linear, ("no", "yes"))
    with pytest.raises(BackboneError, match=r"no weights for .*pooler"):
        build_pretrained(source, native, ("no", "yes"))
