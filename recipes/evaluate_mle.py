"""Evaluate policies on machine-learning-engineering tasks: models, adapters, checkpoints, endpoints and the tasks' own programs.

After the quickstart, before against after:

    python recipes/evaluate_mle.py --policies before=runs/demo-policy after=runs/quickstart reference \
        --tasks builtin:computers --n 32

A model behind an OpenAI-compatible endpoint beside it, half of the samples as improvements of the best one:

    python recipes/evaluate_mle.py --policies runs/quickstart big=my-model@http://127.0.0.1:8000/v1 \
        --tasks builtin:computers builtin:digits --mode improve

The same command continues an evaluation that was killed. `--help` lists every key. `trl-mle evaluate` is the same command of the
installed package.
"""

import sys

from trl_mle.scripts.evaluate import main, parse, run

__all__ = ["main", "parse", "run"]

if __name__ == "__main__":
    sys.exit(main())
