"""What was handed over is printed whole on a narrow terminal, and a share as none or all only where it is."""

from __future__ import annotations

import io
import re

import numpy as np

from loraloom.terminal.console import make_console
from loraloom.terminal.handover import print_export, print_submission
from loraloom.use.export import Exported
from loraloom.use.export.measuring import Measured
from loraloom.use.submit import ClassShare, Submitted

WIDTH = 60


def test_no_figure_of_an_export_is_cut() -> None:
    said = io.StringIO()
    logits = np.zeros((1, 2), np.float32)
    one = Measured("onnx, int8", 91_000_000, 7_600, 0.912, (0.905, 0.918), 7_512, 0.02, 0.4, 1_234.0, logits)
    print_export(make_console(file=said, width=WIDTH), Exported("best", "onnx", "out", "test rows", (one, one), ()))
    assert "…" not in said.getvalue()
    assert max(map(len, said.getvalue().splitlines())) <= WIDTH


def test_no_label_of_a_submission_is_cut() -> None:
    said, label = io.StringIO(), "a-label-that-is-longer-than-all-of-the-terminal-is-wide-by-ten-or-more"
    share = ClassShare(label, None, 10, 1.0, 1.0)
    result = Submitted("out.csv", 10, (share,), "it fits", ())
    print_submission(make_console(file=said, width=WIDTH), result, checked=True)
    assert "…" not in said.getvalue()
    assert label in "".join(line.split()[0] for line in said.getvalue().splitlines())


def test_a_label_of_a_submission_is_in_one_line_and_ends_before_its_figures() -> None:
    """One of a text's length, of several lines, or from right to left, as `evaluate` has it."""
    said, labels = io.StringIO(), ("A" * 500, "of\ntwo lines", "اقتصاد")
    shares = tuple(ClassShare(label, None, 10, 1 / 3, None) for label in labels)
    print_submission(make_console(file=said, width=200), Submitted("out.csv", 30, shares, "it fits", ()), checked=True)
    lines = said.getvalue().splitlines()[1:4]
    assert [line.split("  ")[0] for line in lines] == [f"{'A' * 119}…", "of two lines", "اقتصاد\u200e"]


def test_shares_of_a_submission_are_said_to_be_none_or_all_only_where_they_are() -> None:
    said = io.StringIO()
    shares = [ClassShare("rare", None, 3, 3 / 7_600, 0.9999), ClassShare("common", None, 7_597, 7_597 / 7_600, 0.0001)]
    result = Submitted("out.csv", 7_600, tuple(shares), "it fits", ())
    print_submission(make_console(file=said, width=WIDTH), result, checked=True)
    cells = {line.split()[0]: re.split(r"  +", line.strip())[1:] for line in said.getvalue().splitlines()}
    assert cells["rare"] == ["3", "<0.1 %", ">99.9 %"]
    assert cells["common"] == ["7,597", ">99.9 %", "<0.1 %"]


def test_each_figure_of_an_export_stands_below_its_name() -> None:
    said, logits = io.StringIO(), np.zeros((1, 2), np.float32)
    one = Measured("int8", 91_000_000, 7_600, 0.912, (0.905, 0.918), 7_512, 0.02, 0.4, 1_234.0, logits)
    print_export(make_console(file=said, width=200), Exported("best", "onnx", "out", "its rows", (one,), ("a note",)))
    above, head, figures, *below = (re.split(r"  +", line.strip()) for line in said.getvalue().splitlines())
    assert (above, below) == (["compared on 7,600 rows: its rows"], [["a note"], ["written to out"]])
    assert dict(zip(head, figures, strict=True)) == {
        **{"form": "int8", "size": "91.0 MB", "accuracy": "0.912", "95 % interval": "0.905–0.918"},
        **{"same labels": "98.8 %", "logits off": "2e-02", "texts/s": "1,234"},
    }


def test_an_export_that_is_wrong_of_many_rows_is_not_told_as_one_that_is_right_of_all() -> None:
    said, logits = io.StringIO(), np.zeros((1, 2), np.float32)
    one = Measured("int8", 91_000_000, 100_000, 0.9999, (0.99982, 0.99995), 99_999, 0.02, 0.4, 1_234.0, logits)
    print_export(make_console(file=said, width=200), Exported("best", "onnx", "out", "its rows", (one,), ()))
    assert said.getvalue().splitlines()[2].split()[3:6] == ["0.99990", "0.99982–0.99995", ">99.9"]
