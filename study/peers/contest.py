"""The contest's preset, by HF Trainer + PEFT: `recipes/agnews-roberta-base.yaml` without loraloom."""

from __future__ import annotations

from study.peers.task import Answer, Task

_TARGETS = {"mpnet": ["attn.q", "attn.v"]}
"""Query and value, where PEFT has no default for the architecture."""


def answer(task: Task) -> Answer:
    from peft import LoraConfig, TaskType, get_peft_model

    from study.peers import training

    tokenizer = training.tokenizer_of(task)
    rows = training.encoded(tokenizer, task.texts, task, task.labels)
    test = training.encoded(tokenizer, task.test, task)
    base = training.classifier_of(task)
    lora = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=4,
        lora_alpha=16,
        lora_dropout=0.0,
        bias="lora_only",
        target_modules=_TARGETS.get(base.config.model_type),
    )
    model = get_peft_model(base, lora)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    speed = training.speed_of(model, tokenizer, rows)
    keep = speed.predicting(len(test)) + 5
    # Adam is AdamW without decay.
    setting = training.Setting(1e-3, 1.0, "constant", warmup=0.0, decay=0.0)
    trainer, done = training.train(task, model, tokenizer, rows, setting, speed, keep=keep)
    return Answer(training.predictions_of(trainer, test), {"trainable_parameters": trainable, **done})
