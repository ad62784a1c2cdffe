"""Random completions with programs of `generated_programs`. A few are damaged, so that what comes before the analysis is met."""

from __future__ import annotations

import random

from tests.support.generated_programs import ProgramWriter
from tests.support.hostile_texts import FENCE, random_text


def random_program(source: random.Random, size: int) -> str:
    return ProgramWriter(source, size).program()


def random_size(source: random.Random, longest: int) -> int:
    """Mostly 200 to 3,000 characters; one in 500 is spread from there to `longest`."""
    chosen = source.random()
    if chosen < 0.002:
        return int(3000 * (longest / 3000) ** source.random())
    return int(200 * 15 ** source.random() ** 1.3) if chosen < 0.95 else int(1 + 200 * source.random())


def random_completion(source: random.Random, longest: int = 195_000) -> str:
    """A completion with a program: nearly always one that parses, in the block that counts."""
    chosen = source.random()
    if chosen < 0.03:
        return random_text(source)
    code = random_program(source, random_size(source, longest))
    if chosen < 0.05:  # cut and joined anywhere
        start = int(len(code) * source.random())
        code = code[:start] + code[start + int(9 * source.random()) :]
    elif chosen < 0.06:
        place = int(len(code) * source.random())
        code = code[:place] + source.choice(("\0", "\ud800", "\udfff")) + code[place:]
    before = source.choice(
        ("", "Plan.\n", "<think>\nx\n</think>\nPlan: `fit`.\n", f"{FENCE}python\ndraft = 1\n{FENCE}\n", "1. Read\n\n")
    )
    after = source.choice(("", "\n", "\nDone.\n", f"\n{FENCE}text\nout\n{FENCE}\n"))
    fence = FENCE if source.random() < 0.9 else "~~~~"
    text = f"{before}{fence}{source.choice(('python', 'python', 'py', 'Python3'))}\n{code}{fence}{after}"
    return text.replace("\n", "\r\n") if source.random() < 0.02 else text
