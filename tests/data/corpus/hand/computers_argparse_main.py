#!/usr/bin/env python
import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

log = logging.getLogger("solve")


def parse_args(argv=None):
    p = argparse.ArgumentParser()
    p.add_argument("--data-dir", type=Path, default=Path("input"))
    p.add_argument("--out", default="submission.csv")
    p.add_argument("--trees", type=int, default=40)
    p.add_argument("--seed", type=int, default=13)
    return p.parse_args(argv)


def load(data_dir):
    tr = pd.read_csv(data_dir / "train.csv")
    te = pd.read_csv(data_dir / "test.csv")
    return tr, te


def encode(df):
    return df.replace({"yes": 1, "no": 0}).drop(columns=["id"], errors="ignore").astype(float)


def main(argv=None):
    args = parse_args(argv)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    tr, te = load(args.data_dir)
    log.info("loaded %d / %d rows", len(tr), len(te))
    target = tr.pop("price")
    A, B, ya, yb = train_test_split(encode(tr), target, test_size=0.25, random_state=args.seed)
    forest = RandomForestRegressor(args.trees, random_state=args.seed)
    forest.fit(A, ya)
    rmse = np.sqrt(mean_squared_error(yb, forest.predict(B)))
    log.info("rmse %.2f", rmse)
    forest.fit(encode(tr), target)
    out = te[["id"]].copy()
    out["price"] = forest.predict(encode(te))
    out.to_csv(args.out, index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
