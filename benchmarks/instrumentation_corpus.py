"""Writes the programs of `tests/data/corpus/` that come from a generator; those by hand are kept there as they are.

    python benchmarks/instrumentation_corpus.py lm --url http://127.0.0.1:8011/v1 --count 84
    python benchmarks/instrumentation_corpus.py demo
    python benchmarks/instrumentation_corpus.py solutions

`lm` asks a language model behind an OpenAI-compatible endpoint for solutions of the built-in tasks, with the project's
own prompts and one seed for each program. Every program is stored at once; the command goes on where it stopped.
`demo` draws completions of the demo's generator, `solutions` copies the built-in tasks' references and baselines.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from trl_mle import extract_program, list_tasks, load_task
from trl_mle.demo import generate_demonstrations
from trl_mle.errors import ExtractionError
from trl_mle.prompts import build_prompt

CORPUS = Path(__file__).parent.parent / "tests/data/corpus"
TEMPERATURES = (0.8, 0.9, 1.0)
ROUND = 4
"""Programs in a row for one task: a server keeps the prompt that they share."""
DEMO_PROGRAMS = 176
DEMO_TASKS = ("builtin:computers", "builtin:segment")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", choices=("lm", "demo", "solutions"))
    parser.add_argument("--url", default="http://127.0.0.1:8011/v1", help="endpoint of the language model")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b-instruct-q4_k_m", help="its name there")
    parser.add_argument("--count", type=int, default=84, help="completions to ask for in all")
    parser.add_argument("--max-tokens", type=int, default=800, help="length of a completion")
    args = parser.parse_args()
    CORPUS.mkdir(parents=True, exist_ok=True)
    if args.source == "lm":
        write_language_model(args)
    elif args.source == "demo":
        write("demo.jsonl", demo_programs())
    else:
        write("solutions.jsonl", solutions())


def write(name: str, rows: Iterable[dict[str, object]]) -> None:
    """Write rows of the corpus, one a line."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (CORPUS / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} programs in {CORPUS / name}")


def write_language_model(args: argparse.Namespace) -> None:
    """Ask for completions `done`..`count`; a line of the log for each, a program where one can be taken out."""
    log, programs = CORPUS / "qwen.log.jsonl", CORPUS / "qwen.jsonl"
    done = len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0
    names = list(list_tasks())
    for number in range(done, args.count):
        task = names[number // ROUND % len(names)]
        temperature = TEMPERATURES[number % len(TEMPERATURES)]
        started = time.perf_counter()
        text, tokens, finish = complete(args, build_prompt(load_task(task)), 1000 + number, temperature)
        row: dict[str, object] = {
            "id": f"qwen-{number:03d}",
            "task": task,
            "seed": 1000 + number,
            "temperature": temperature,
            "tokens": tokens,
            "seconds": round(time.perf_counter() - started, 1),
            "finish": finish,
        }
        try:
            code = extract_program(text).code
            with programs.open("a", encoding="utf-8") as file:
                entry = {"id": row["id"], "source": "qwen2.5-coder-1.5b-instruct", "task": task, "code": code}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        except ExtractionError as error:
            row["dropped"] = error.reason
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def complete(
    args: argparse.Namespace, messages: list[dict[str, str]], seed: int, temperature: float
) -> tuple[str, int, str]:
    """The completion, its number of tokens and why it ended."""
    body = {
        "model": args.model,
        "messages": messages,
        "temperature": temperature,
        "top_p": 0.95,
        "seed": seed,
        "max_tokens": args.max_tokens,
    }
    request = urllib.request.Request(
        f"{args.url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=900) as response:
        reply = json.load(response)
    choice = reply["choices"][0]
    return choice["message"]["content"], reply["usage"]["completion_tokens"], choice["finish_reason"]


def solutions() -> Iterable[dict[str, object]]:
    """Reference and baseline of every built-in task."""
    for name in list_tasks():
        task = load_task(name)
        for kind, path in (("reference", task.reference), ("baseline", task.baseline)):
            if path is not None:
                short = name.removeprefix("builtin:")
                yield {
                    "id": f"{kind}-{short}",
                    "source": kind,
                    "task": name,
                    "code": path.read_text(encoding="utf-8"),
                }


def demo_programs() -> Iterable[dict[str, object]]:
    """Programs as the demo policy learns to write them: no two alike, expensive families only a few times."""
    tasks = [load_task(name) for name in DEMO_TASKS]
    slow: Counter[str] = Counter()
    seen: set[str] = set()
    count = 0
    for row in generate_demonstrations(tasks, 4 * DEMO_PROGRAMS, seed=7):
        code = extract_program(str(row["completion"])).code
        bugs = list(row["bugs"])  # type: ignore[call-overload]
        kind = "luckiest_split" if "luckiest_split" in bugs else str(row["family"])
        if code in seen or (kind in ("tuned", "stacking", "luckiest_split") and slow[kind] >= 4):
            continue
        slow[kind] += 1
        seen.add(code)
        yield {
            "id": f"demo-{count:03d}",
            "source": "demo",
            "task": row["task"],
            "family": row["family"],
            "bugs": bugs,
            "code": code,
        }
        count += 1
        if count == DEMO_PROGRAMS:
            return


if __name__ == "__main__":
    main()
