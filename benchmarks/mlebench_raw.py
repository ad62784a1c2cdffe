"""Made-up raw data of MLE-bench's competitions, in the files and formats in which Kaggle gives them out."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

WORDS = (
    "the",
    "raven",
    "house",
    "usher",
    "old",
    "dream",
    "creature",
    "frozen",
    "sea",
    "night",
    "tomb",
    "love",
    "heart",
)


def _text(rng: random.Random, least: int = 4, most: int = 14) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(least, most)))


def _zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _jpg(rng: random.Random) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(rng.randrange(256) for _ in range(3))).save(buffer, "JPEG")
    return buffer.getvalue()


def spooky(raw: Path, rng: random.Random) -> None:
    rows = [(f"id{number:05d}", _text(rng), rng.choice(["EAP", "HPL", "MWS"])) for number in range(600)]
    _zip(raw / "train.zip", {"train.csv": _csv(pd.DataFrame(rows, columns=["id", "text", "author"]))})


def insults(raw: Path, rng: random.Random) -> None:
    def table(rows: int, start: int) -> pd.DataFrame:
        comments = [f'"{_text(rng)}, \\xa0 you {start + row}\\n\n""quoted"" é"' for row in range(rows)]
        dates = [rng.choice(["20120618192155Z", None]) for _ in range(rows)]
        return pd.DataFrame(
            {"Insult": [int(rng.random() < 0.3) for _ in range(rows)], "Date": dates, "Comment": comments}
        )

    table(400, 0).to_csv(raw / "train.csv", index=False)
    table(200, 10_000).assign(Usage="PrivateTest").to_csv(raw / "test_with_solutions.csv", index=False)


def pizza(raw: Path, rng: random.Random) -> None:
    def requests(rows: int, start: int, train: bool) -> list[dict[str, object]]:
        made = []
        for number in range(start, start + rows):
            given = rng.random() < 0.25
            request: dict[str, object] = {
                "giver_username_if_known": f"giver{number}" if given else "N/A",
                "request_id": f"t3_{number:x}",
                "request_text_edit_aware": _text(rng, 10, 40),
                "request_title": _text(rng),
                "requester_account_age_in_days_at_request": rng.random() * 1000,
            }
            if train:
                request |= {
                    "requester_received_pizza": given,
                    "requester_upvotes_minus_downvotes_at_retrieval": number,
                }
            made.append(request)
        return made

    (raw / "train.json").write_text(json.dumps(requests(400, 1000, True)), encoding="utf-8")
    (raw / "test.json").write_text(json.dumps(requests(160, 5000, False)), encoding="utf-8")


def tweets(raw: Path, rng: random.Random) -> None:
    rows = []
    for number in range(1500):
        text = _text(rng)
        words = text.split()
        start = rng.randrange(len(words))
        chosen = " ".join(words[start : rng.randint(start + 1, len(words))])
        rows.append((f"{number:010x}", text, chosen, rng.choice(["positive", "negative", "neutral"])))
    pd.DataFrame(rows, columns=["textID", "text", "selected_text", "sentiment"]).to_csv(raw / "train.csv", index=False)


def tabular(raw: Path, rng: random.Random) -> None:
    numbers, rows = (
        np.random.default_rng(rng.randrange(2**32)),
        102_000,
    )  # the package takes 100,000 of them for its test
    table = pd.DataFrame(numbers.normal(size=(rows, 5)), columns=[f"f_{column:02d}" for column in range(5)])
    table.insert(0, "id", range(rows))
    table["f_27"] = "ABABDADBAB"
    table["target"] = (table["f_00"] + numbers.normal(size=rows) > 0).astype(int)
    table.to_csv(raw / "train.csv", index=False)


def leaves(raw: Path, rng: random.Random) -> None:
    from importlib import import_module

    species = import_module("mlebench.competitions.leaf-classification.classes").CLASSES
    rows = [(number, rng.choice(species), rng.random(), rng.random()) for number in range(1, 991)]
    table = pd.DataFrame(rows, columns=["id", "species", "margin1", "shape1"])
    _zip(raw / "train.csv.zip", {"train.csv": _csv(table)})
    image = _jpg(rng)
    _zip(raw / "images.zip", {f"images/{number}.jpg": image for number in table["id"]})


def conductors(raw: Path, rng: random.Random) -> None:
    rows = [(number, 33, 80.0, rng.random(), rng.random() * 0.4, 1 + rng.random() * 4) for number in range(1, 601)]
    columns = [
        "id",
        "spacegroup",
        "number_of_total_atoms",
        "percent_atom_al",
        "formation_energy_ev_natom",
        "bandgap_energy_ev",
    ]
    table = pd.DataFrame(rows, columns=columns)
    _zip(raw / "train.csv.zip", {"train.csv": _csv(table)})
    _zip(raw / "test.csv.zip", {"test.csv": _csv(table[columns[:4]])})
    _zip(raw / "train.zip", {f"train/{row}/geometry.xyz": f"atom {row} 0 0 Al\n".encode() for row in table["id"]})
    _zip(raw / "test.zip", {"test/1/geometry.xyz": b"atom 1 0 0 Al\n"})


def arena(raw: Path, rng: random.Random) -> None:
    rows = []
    for number in range(1000):
        winner = rng.randrange(3)
        texts = [json.dumps([_text(rng)]) for _ in range(3)]
        rows.append((30000 + 7 * number, "model-x", "model-y", *texts, *(int(winner == k) for k in range(3))))
    winners = ["winner_model_a", "winner_model_b", "winner_tie"]
    columns = ["id", "model_a", "model_b", "prompt", "response_a", "response_b", *winners]
    pd.DataFrame(rows, columns=columns).to_csv(raw / "train.csv", index=False)


def cacti(raw: Path, rng: random.Random) -> None:
    table = pd.DataFrame({"id": [f"{number:06x}.jpg" for number in range(500)]})
    table["has_cactus"] = [int(rng.random() < 0.7) for _ in range(len(table))]
    table.to_csv(raw / "train.csv", index=False)
    image = _jpg(rng)
    _zip(raw / "train.zip", {f"train/{name}": image for name in table["id"]})


def pets(raw: Path, rng: random.Random) -> None:
    image = _jpg(rng)
    _zip(raw / "train.zip", {f"train/{kind}.{number}.jpg": image for kind in ("cat", "dog") for number in range(500)})
    _zip(raw / "test.zip", {"test/1.jpg": image})


RAW: dict[str, Callable[[Path, random.Random], None]] = {
    "spooky-author-identification": spooky,
    "detecting-insults-in-social-commentary": insults,
    "random-acts-of-pizza": pizza,
    "tweet-sentiment-extraction": tweets,
    "tabular-playground-series-may-2022": tabular,
    "leaf-classification": leaves,
    "nomad2018-predict-transparent-conductors": conductors,
    "lmsys-chatbot-arena": arena,
    "aerial-cactus-identification": cacti,
    "dogs-vs-cats-redux-kernels-edition": pets,
}
"""Writer of the raw files of each competition."""
