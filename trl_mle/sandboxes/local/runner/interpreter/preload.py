"""The preload of a worker: imports and first calls that its programs then need not repeat."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import io
import os
from collections.abc import Sequence
from contextlib import suppress

from .imports import install, link_packages
from .packages import resolve

_TYPICAL = {
    "numpy": ("numpy.random", "numpy.linalg", "numpy.fft", "numpy.ma"),
    "sklearn": (
        *("sklearn.base", "sklearn.calibration", "sklearn.cluster", "sklearn.compose", "sklearn.decomposition"),
        *("sklearn.dummy", "sklearn.ensemble", "sklearn.feature_extraction.text", "sklearn.feature_selection"),
        *("sklearn.impute", "sklearn.linear_model", "sklearn.metrics", "sklearn.model_selection"),
        *("sklearn.naive_bayes", "sklearn.neighbors", "sklearn.neural_network", "sklearn.pipeline"),
        *("sklearn.preprocessing", "sklearn.svm", "sklearn.tree", "scipy.sparse", "scipy.stats"),
    ),
}
"""Modules that programs import from a package beside its top level."""


def preload(modules: Sequence[str], links: str, semaphores: bool) -> None:
    """Import `modules` as a program could: with only their own distributions installed.

    Args:
        modules (`Sequence[str]`): names of modules.
        links (`str`): folder to make for links to their distributions.
        semaphores (`bool`): whether programs can make semaphores, which joblib tries when it is imported.
    """
    if not semaphores:
        os.environ["JOBLIB_MULTIPROCESSING"] = "0"
    packages = resolve(tuple(_distributions(modules)))
    link_packages(packages, links)
    install(packages, links)
    for name in modules:
        importlib.import_module(name)
        for typical in _TYPICAL.get(name, ()):
            # A release may lack one of them; a program then imports what it needs by itself.
            with suppress(ModuleNotFoundError):
                importlib.import_module(typical)
    if {"pandas", "sklearn"} <= set(modules):
        _fit_once()
    gc.collect()
    gc.freeze()  # a collection in a child would copy all of the worker's pages


def _distributions(modules: Sequence[str]) -> list[str]:
    if not modules:
        return []
    known = importlib.metadata.packages_distributions()
    return sorted({name for module in modules for name in known.get(module.partition(".")[0], ())})


def _fit_once() -> None:
    """Run a typical program, for the modules that libraries import when they are first used."""
    import pandas
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pandas.read_csv(io.StringIO("a,b,y\n1,u,0\n2,v,1\n3,u,0\n4,v,1\n"))
    columns = make_column_transformer((StandardScaler(), ["a"]), (OneHotEncoder(), ["b"]))
    model = make_pipeline(columns, LogisticRegression()).fit(frame[["a", "b"]], frame["y"])
    frame.assign(p=model.predict(frame[["a", "b"]])).to_csv(io.StringIO(), index=False)
