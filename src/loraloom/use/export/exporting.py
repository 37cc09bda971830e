"""The order of an export: check, load, write, load again, compare, describe; the folder is whole or absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loraloom.backbone import sources
from loraloom.errors import AdapterError, LoraloomError
from loraloom.machine import with_home
from loraloom.report.wording import LEVEL, p_value
from loraloom.study.durable import refuse_bytes, refuse_dangling, replacing_folder, system_errors_of, write_text
from loraloom.study.record import CARD, TrialRecord
from loraloom.use.adapter import adapter_folder, read_adapter_record, unreplaced
from loraloom.use.adapter_checks import backbone_of
from loraloom.use.export.expressible import refuse_corrected, refuse_head
from loraloom.use.export.measuring import Measured, measure, refuse_other
from loraloom.use.export.onnx_folder import FP32, INT8, OnnxFolder, refuse_missing, write_onnx
from loraloom.use.export.subject import Subject, load_subject, rows_of

if TYPE_CHECKING:
    from torch import nn

_PEFT = "PEFT alone"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written to `out`; `measured` has the adapter first, then each form of the export on `rows`."""

    adapter: str
    format: str
    out: str
    rows: str
    measured: tuple[Measured, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {
            "adapter": self.adapter,
            "format": self.format,
            "out": self.out,
            "rows": self.rows,
            "measured": [
                {
                    "form": one.name,
                    "bytes": one.bytes,
                    "rows": one.rows,
                    "accuracy": one.accuracy,
                    "accuracy_interval": list(one.accuracy_interval),
                    "same_labels": one.same_labels,
                    "difference": one.difference,
                    "p": one.p,
                    "texts_per_second": one.texts_per_second,
                }
                for one in self.measured
            ],
            "notes": list(self.notes),
        }


def export(
    adapter: Path | str,
    form: str,
    out: Path | str,
    *,
    rows: Path | str | None = None,
    text_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
) -> Exported:
    """Writes the adapter in `form` ("merged", "onnx" or "peft") into the new folder `out`.

    It is compared with the adapter on the labelled rows of the file `rows`, or on its run's validation rows, in the
    columns of its recipe unless they are named.

    Raises:
        AdapterError: the adapter can't be loaded, or has a head or a base model that `form` can't express.
        DataError: the rows can't be read, or there are none.
        MissingExtraError: `form` needs a package that is not installed.
        LoraloomError: `out` is there already, or is not UTF-8, or what was written does not do what the adapter does.
        OSError: the folder can't be written.
    """
    folder, target = adapter_folder(adapter), with_home(out)
    if form not in FORMATS:
        raise LoraloomError(f"--format {form}: there is no such format; it must be {', '.join(FORMATS)}")
    if form == "onnx":
        refuse_missing()
    if target.exists() or target.is_symlink():
        raise LoraloomError(f"{target}: is there already; name a new folder")
    refuse_bytes(target)
    refuse_dangling(target)
    with unreplaced(folder):
        record = read_adapter_record(folder)
        _refuse(form, folder, record)
        given = rows_of(folder, record, None if rows is None else Path(rows), text_column, label_column)
        subject = load_subject(folder, record, given)
    from loraloom.use.export.card import export_card

    with replacing_folder(target) as new, system_errors_of(target):
        own = measure("adapter", 4 * _parameters(subject.model), subject.logits, subject.rows)
        measured = (own, *_WRITERS[form](subject, new, own))
        notes = tuple(_notes(measured))
        write_text(new / CARD, export_card(form, subject, measured, notes))
    return Exported(str(adapter), form, str(out), given.name, measured, notes)


def _refuse(form: str, folder: Path, record: TrialRecord) -> None:
    if record.result is None:
        raise AdapterError(f"{folder}: has no result, so that a model card could not say how good it is")
    if record.is_blend:
        alone = "TF-IDF has a part in its answers, which no export holds"
        raise AdapterError(f"{folder}: {alone}; export the adapter alone, RUN/best, or predict by loraloom")
    source = backbone_of(folder, record)
    refuse_head(form, record.configuration.head, sources.load_config(source), str(folder))
    refuse_corrected(form, source, str(folder))


def _write_merged(subject: Subject, folder: Path, own: Measured) -> tuple[Measured, ...]:
    from loraloom.use.export.transformers_folder import TransformersFolder, write_transformers

    write_transformers(subject, folder)
    written = TransformersFolder(folder, subject.record.labels)
    found = measure("merged", _bytes(folder), written.logits, subject.rows, own.logits)
    refuse_other(found)
    return (found,)


def _write_onnx(subject: Subject, folder: Path, own: Measured) -> tuple[Measured, ...]:
    write_onnx(subject, folder)
    fp32 = measure("ONNX fp32", _bytes(folder, FP32), OnnxFolder(folder, FP32).logits, subject.rows, own.logits)
    refuse_other(fp32)
    int8 = measure("ONNX int8", _bytes(folder, INT8), OnnxFolder(folder, INT8).logits, subject.rows, own.logits)
    return fp32, int8


def _write_peft(subject: Subject, folder: Path, own: Measured) -> tuple[Measured, ...]:
    from loraloom.use.export.peft_folder import PeftFolder, write_peft

    write_peft(subject, folder)
    found = measure(_PEFT, _bytes(folder), PeftFolder(folder, subject).logits, subject.rows, own.logits)
    refuse_other(found)
    return (found,)


_WRITERS: dict[str, Callable[[Subject, Path, Measured], tuple[Measured, ...]]] = {
    "merged": _write_merged,
    "onnx": _write_onnx,
    "peft": _write_peft,
}
FORMATS = tuple(_WRITERS)


def _parameters(model: nn.Module) -> int:
    """Without the head in whose place PEFT has put the trained one."""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if ".original_module." not in name)


def _bytes(folder: Path, name: str = "") -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{name}*") if path.is_file())


def _notes(measured: tuple[Measured, ...]) -> list[str]:
    """What a form that is not the same function costs, and what a size leaves out."""
    own, notes = measured[0], []
    for one in measured:
        if one.name == _PEFT:
            notes.append(f"The size of {_PEFT} is without its base model, which that of the adapter includes.")
        if one.exact:
            continue
        points, changed = 100 * (one.accuracy - own.accuracy), one.rows - one.same_labels
        shown = "is not shown to matter" if one.p > LEVEL else "is more than noise"
        notes.append(
            f"{one.name} gives another label in {changed:,} of {one.rows:,} rows; its accuracy differs by "
            f"{points:+.1f} points, which {shown} ({p_value(one.p)}, McNemar)."
            if changed
            else f"{one.name} gives the same label in all {one.rows:,} rows, its logits differ."
        )
    return notes
