"""A dataset that was saved to disk (`datasets.Dataset.save_to_disk`): Arrow and JSON, in a folder, and nothing else.

`datasets.load_from_disk` reads it without running code; the folder is looked through first, so that neither a pickle
nor a link out of it is near. Of a DatasetDict one split is to be named: FOLDER/test.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from loraloom.errors import DataError, first_line

if TYPE_CHECKING:
    from datasets.arrow_dataset import Dataset

STATE, DICT = "state.json", "dataset_dict.json"
_HARMLESS = {".arrow", ".json", ".md", ".lock"}


def is_saved(path: Path) -> bool:
    """Whether `path` is such a folder, of one dataset or of several splits."""
    return any(os.path.isfile(path / name) for name in (STATE, DICT))  # noqa: PTH113 - Path's own may raise


def load_saved(path: Path) -> Dataset:
    """The dataset; its columns stay on disk until they are read.

    Raises:
        DataError: it holds what could be code, is damaged, or has several splits.
    """
    for file in path.rglob("*"):
        if file.is_symlink() or not (file.is_dir() or file.suffix.lower() in _HARMLESS):
            raise DataError(f"{file}: a saved dataset is .arrow and .json files alone; take this out if you know it")
    if not (path / STATE).is_file():
        raise _several(path)
    from datasets.arrow_dataset import Dataset
    from pyarrow.lib import ArrowException

    try:
        for data_file in json.loads((path / STATE).read_text(encoding="utf-8"))["_data_files"]:
            if Path(data_file["filename"]).name != data_file["filename"]:
                raise DataError(f"{path / STATE}: names {data_file['filename']!r}, which is not in its folder")
        load: Any = Dataset.load_from_disk
        dataset: Dataset = load(str(path)).with_format(None)
        table: Any = dataset.data
        table.validate(full=True)  # Arrow has no checksums, and by a wrong offset reads beyond the file's end
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ArrowException) as error:
        raise DataError(f"{path}: is not a saved dataset that can be read ({first_line(error)})") from None
    return dataset


def not_by_rows(path: Path) -> DataError:
    """Why such a folder is not read row by row, as rows are predicted, with a line that the user may run."""
    if not (path / STATE).is_file():
        return _several(path)
    file = f"{path}.parquet"
    code = f"import datasets; datasets.load_from_disk({str(path)!r}).to_parquet({file!r})"
    return DataError(
        f"{path}: is a saved dataset, which is not read row by row; write it as Parquet, once, and give {file}: "
        f"python -c {quote(code)}"
    )


def _several(path: Path) -> DataError:
    splits = sorted(inner.name for inner in path.iterdir() if (inner / STATE).is_file())
    named = " or ".join(str(path / split) for split in splits)
    return DataError(f"{path}: holds splits, not rows" + (f"; give {named}" if named else ""))
