"""transformers + PEFT behind LitServe, in batches, as its documentation serves a model: for `bench.serve`.

`python -m bench.litserve ADAPTER PORT`. Batches of 32 that wait 5 ms for company, fp32 as transformers loads it.
"""

import sys
from pathlib import Path
from typing import Any, cast

import litserve
import torch
from fastapi import Request
from peft import PeftModel

from loraloom.backbone import sources
from loraloom.backbone.classifier import build_pretrained
from loraloom.study.record import read_record


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Workers are spawned, and get it pickled: what it serves is an attribute."""

    def __init__(self, adapter: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.005)
        self.adapter = adapter

    def setup(self, device: str) -> None:
        record = read_record(Path(self.adapter))
        source = sources.find(record.configuration.backbone.model, record.backbone_revision)
        base = build_pretrained(source, record.configuration, record.labels)
        self.model = PeftModel.from_pretrained(cast(Any, base), self.adapter).eval().to(device)
        self.tokenizer = sources.load_tokenizer(source)
        self.labels, self.longest = record.labels, record.configuration.data.max_length

    # LitServe reads the annotation, as an object and not as text: a Request is given as its JSON.
    def decode_request(self, request: Request) -> str:
        return str(cast(Any, request)["text"])

    def predict(self, texts: Any) -> Any:
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        with torch.inference_mode():
            return self.model(**batch).logits.softmax(-1).tolist()

    def encode_response(self, output: Any) -> dict[str, Any]:
        best = max(range(len(output)), key=output.__getitem__)
        return {"label": self.labels[best], "confidence": output[best]}


def main(adapter: str, port: int) -> None:
    api = Api(adapter)
    litserve.LitServer(api, accelerator="cpu", workers_per_device=1).run(port=port, generate_client_file=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
