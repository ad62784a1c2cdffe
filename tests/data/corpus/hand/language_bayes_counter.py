import csv
import json
import math
from collections import Counter, defaultdict

ALPHA = 0.4
train = list(csv.DictReader(open("input/train.csv", encoding="utf-8")))
test = list(csv.DictReader(open("input/test.csv", encoding="utf-8")))
langs = sorted({r["language"] for r in train})


def grams(word, n=3):
    w = f"^{word}$"
    return [w[i:i + k] for k in range(1, n + 1) for i in range(len(w) - k + 1)]


def learn(rows):
    counts = defaultdict(Counter)
    for r in rows:
        counts[r["language"]].update(grams(r["word"]))
    vocab = len(set().union(*counts.values()))
    return counts, {k: sum(c.values()) + ALPHA * vocab for k, c in counts.items()}


def predict(model, word):
    counts, totals = model
    s = {k: sum(math.log((counts[k][g] + ALPHA) / totals[k]) for g in grams(word)) * 0.5 for k in langs}
    m = max(s.values())
    z = sum(math.exp(v - m) for v in s.values())
    return {k: math.exp(v - m) / z for k, v in s.items()}


model = learn(train[1000:])
score = -sum(math.log(predict(model, r["word"])[r["language"]]) for r in train[:1000]) / 1000
print(json.dumps({"log_loss": round(score, 4)}))
model = learn(train)
with open("submission.csv", "w", newline="", encoding="utf-8") as f:
    writer = csv.DictWriter(f, ["id", *langs])
    writer.writeheader()
    for r in test:
        writer.writerow({"id": r["id"], **predict(model, r["word"])})
