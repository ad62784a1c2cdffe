"""Prepared data of MLE-bench's competitions, made up and small, and a package `mlebench` with one competition."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pandas as pd

AUTHORS = ("EAP", "HPL", "MWS")
TARGETS = ("formation_energy_ev_natom", "bandgap_energy_ev")


def prepared(data: Path, competition: str) -> tuple[Path, Path]:
    """New folders for the public and the private files."""
    public, private = (data / competition / "prepared" / name for name in ("public", "private"))
    public.mkdir(parents=True)
    private.mkdir()
    return public, private


def spooky(data: Path, rows: int = 30) -> pd.DataFrame:
    """Write spooky-author-identification and give the answers."""
    public, private = prepared(data, "spooky-author-identification")
    rng = random.Random(0)
    texts = [(f"id{row:03d}", f"text number {row}", rng.choice(AUTHORS)) for row in range(3 * rows)]
    table = pd.DataFrame(texts, columns=["id", "text", "author"])
    train, test = table.iloc[rows:], table.iloc[:rows]
    answers = test[["id"]].assign(**{author: (test["author"] == author).astype(int) for author in AUTHORS})
    train.to_csv(public / "train.csv", index=False)
    test.drop(columns="author").to_csv(public / "test.csv", index=False)
    answers.assign(EAP=0.4, HPL=0.3, MWS=0.3).to_csv(public / "sample_submission.csv", index=False)
    answers.to_csv(private / "test.csv", index=False)
    (public / "description.md").write_text("Long text.", encoding="utf-8")
    return answers


def conductors(data: Path, rows: int = 20) -> pd.DataFrame:
    """Write nomad2018-predict-transparent-conductors, with a folder of geometries, and give the answers."""
    public, private = prepared(data, "nomad2018-predict-transparent-conductors")
    rng = random.Random(0)
    table = pd.DataFrame({"id": range(1, rows + 1), "percent_atom_al": [rng.random() for _ in range(rows)]})
    for target in TARGETS:
        table[target] = [round(rng.random() * 3, 4) for _ in range(rows)]
    table.iloc[::-2].to_csv(public / "train.csv", index=False)
    table[["id", "percent_atom_al"]].to_csv(public / "test.csv", index=False)
    table[["id"]].assign(**dict.fromkeys(TARGETS, 0.5)).to_csv(public / "sample_submission.csv", index=False)
    table.to_csv(private / "test.csv", index=False)
    for row in table["id"]:
        (public / "test" / str(row)).mkdir(parents=True)
        (public / "test" / str(row) / "geometry.xyz").write_text("atom 0 0 0 Al\n", encoding="utf-8")
    return table[["id", *TARGETS]]


def pizza(data: Path, rows: int = 20) -> pd.DataFrame:
    """Write random-acts-of-pizza, whose JSON files also lie there packed, and give the answers."""
    public, private = prepared(data, "random-acts-of-pizza")
    ids = [f"t3_{row:03x}" for row in range(rows)]
    given = [row % 3 == 0 for row in range(rows)]
    requests = [
        {"giver_username_if_known": f"giver{id_}" if got else "N/A", "request_id": id_, "request_title": "please"}
        for id_, got in zip(ids, given, strict=True)
    ]
    labelled = [request | {"requester_received_pizza": got} for request, got in zip(requests, given, strict=True)]
    for name, content in (("train", labelled), ("test", requests)):
        (public / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        with zipfile.ZipFile(public / f"{name}.zip", "w") as archive:
            archive.write(public / f"{name}.json", f"{name}.json")
    answers = pd.DataFrame({"request_id": ids, "requester_received_pizza": [int(got) for got in given]})
    answers.to_csv(private / "test.csv", index=False)
    answers.assign(requester_received_pizza=0).to_csv(public / "sampleSubmission.csv", index=False)
    return answers


def insults(data: Path, positives: int = 5) -> pd.DataFrame:
    """Write detecting-insults-in-social-commentary, whose ids are comments, and give the answers."""
    public, private = prepared(data, "detecting-insults-in-social-commentary")
    comments = [f'"number {row}\nof ""all"" \\xa0, é"' for row in range(20)]
    answers = pd.DataFrame(
        {
            "Insult": [int(row % 4 == 3 and row // 4 < positives) for row in range(20)],
            "Date": "2012",
            "Comment": comments,
        }
    )
    answers.assign(Comment=[f"earlier {row}" for row in range(20)]).to_csv(public / "train.csv", index=False)
    answers.drop(columns="Insult").to_csv(public / "test.csv", index=False)
    answers.assign(Insult=0).to_csv(public / "sample_submission_null.csv", index=False)
    answers.assign(Usage="PrivateTest").to_csv(private / "test.csv", index=False)
    return answers[["Comment", "Insult"]]


def tweets(data: Path) -> pd.DataFrame:
    """Write tweet-sentiment-extraction and give the answers."""
    public, private = prepared(data, "tweet-sentiment-extraction")
    rows = [(f"{row:010x}", f"so Happy today {row}", "positive", f"Happy today {row}") for row in range(20)]
    answers = pd.DataFrame(rows, columns=["textID", "text", "sentiment", "selected_text"])
    answers.iloc[::-2].to_csv(public / "train.csv", index=False)
    answers.drop(columns="selected_text").to_csv(public / "test.csv", index=False)
    answers[["textID"]].assign(selected_text="").to_csv(public / "sample_submission.csv", index=False)
    answers.to_csv(private / "test.csv", index=False)
    return answers[["textID", "selected_text"]]


GRADER = """
import logging
logging.basicConfig(level=logging.INFO)

class InvalidSubmissionError(Exception):
    pass

def grade(submission, answers):
    if "score" not in submission:
        raise InvalidSubmissionError("no column 'score'")
    if len(submission) != len(answers):
        raise InvalidSubmissionError("wrong number of rows")
    if (submission["score"] == 13.25).any():
        raise AssertionError(f"the answers are {answers['score'].tolist()}")
    if (answers["score"] == 99).any():
        raise RuntimeError("broken")
    return float((submission["score"] - answers["score"]).abs().mean())
"""
"""A grader that matches rows by their position."""


def toy_package(folder: Path, data: Path, answers: list[float], leaderboard: str | None = None) -> None:
    """Write a package `mlebench` with the competition `toy` into `folder`, and its prepared data into `data`."""
    package = folder / "mlebench" / "competitions" / "toy"
    package.mkdir(parents=True)
    for path in (package, package.parent, package.parent.parent):
        (path / "__init__.py").touch()
    (package / "config.yaml").write_text(
        "id: toy\nname: Toy\ngrader: {name: mean-error, grade_fn: 'mlebench.competitions.toy.grade:grade'}\n"
        "dataset: {answers: toy/prepared/private/answers.csv, sample_submission: toy/prepared/private/sample.csv}\n",
        encoding="utf-8",
    )
    (package / "description.md").write_text("# Toy\n\nPredict `score`.\n\n" + "x" * 5000, encoding="utf-8")
    (package / "grade.py").write_text(GRADER, encoding="utf-8")
    teams = "score,team\n" + "".join(f"{row / 100},{row}\n" for row in range(200))
    (package / "leaderboard.csv").write_text(leaderboard or teams, encoding="utf-8")
    public, private = prepared(data, "toy")
    table = pd.DataFrame({"key": [f"k{row}" for row in range(len(answers))], "score": answers})
    table.to_csv(private / "answers.csv", index=False)
    table.assign(score=0.0).to_csv(private / "sample.csv", index=False)
    with zipfile.ZipFile(public / "images.zip", "w") as archive:
        archive.writestr("1.png", b"picture")
        archive.writestr("more/2.png", b"picture")
