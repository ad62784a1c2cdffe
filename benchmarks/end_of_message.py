"""How fast two updates take the end of the message away, by `loss_type`.

    python benchmarks/end_of_message.py runs/quickstart

The first two batches of a run, with their advantages and duration weights, train the run's starting policy anew: one Adam step per
batch with the learning rate of the quickstart, the policy term alone, no KL. The second batch was written by the run's own policy.
Reported after each step, over the completions of both batches that ended: mean and least probability of the end-of-message token,
and the divergence from the starting policy in nats per token. Results go to `docs/results/end_of_message.json`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean

import pandas as pd
import torch
from checkout import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_mle.outcomes import read_rollouts

RATE, GRADIENT_NORM = 3e-4, 0.2
LIMIT = 112
"""`max_completion_length` of the quickstart, in tokens."""
LOSSES = ("grpo", "dapo")


@dataclass(frozen=True)
class Batch:
    """Prompts and completions of one generation batch."""

    ids: torch.Tensor
    mask: torch.Tensor
    completion: torch.Tensor
    """1 for the tokens of completions, of the shape of `ids`."""
    advantages: torch.Tensor
    """Advantage times duration weight, shape `(b, 1)`."""

    def logps(self, model: torch.nn.Module) -> torch.Tensor:
        """Log-probabilities of all tokens but the first, shape `(b, T - 1)`."""
        logits = model(input_ids=self.ids, attention_mask=self.mask).logits[:, :-1]
        return logits.log_softmax(-1).gather(-1, self.ids[:, 1:, None])[..., 0]

    def loss(self, model: torch.nn.Module, kind: str) -> torch.Tensor:
        """The policy term of TRL's loss, with an importance ratio of 1."""
        logps, kept = self.logps(model), self.completion[:, 1:]
        terms = -(logps - logps.detach()).exp() * self.advantages * kept
        return (terms.sum(1) / kept.sum(1)).mean() if kind == "grpo" else terms.sum() / kept.sum()


def batch_of(rows: pd.DataFrame, tokenizer) -> Batch:
    """The completions that ended: those below the limit."""
    pairs = []
    for prompt, completion in zip(rows["prompt"], rows["completion"], strict=True):
        messages = [dict(message) for message in prompt]
        start = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        text = completion if isinstance(completion, str) else completion[-1]["content"]
        pairs.append((start, [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]))
    ended = [len(rest) < LIMIT for _, rest in pairs]
    rows, pairs = rows[ended], [pair for pair, whole in zip(pairs, ended, strict=True) if whole]
    width = max(len(start) + len(rest) for start, rest in pairs)
    ids = torch.full((len(pairs), width), tokenizer.pad_token_id)
    mask, completion = torch.zeros_like(ids), torch.zeros(len(pairs), width)
    for row, (start, rest) in enumerate(pairs):
        ids[row, : len(start) + len(rest)] = torch.tensor(start + rest)
        mask[row, : len(start) + len(rest)] = 1
        completion[row, len(start) : len(start) + len(rest)] = 1
    weighted = torch.tensor((rows["advantage"] * rows["duration_weight"]).to_numpy(), dtype=torch.float32)
    return Batch(ids, mask, completion, weighted[:, None])


def measured(model: torch.nn.Module, batches: list[Batch], before: list[torch.Tensor]) -> dict[str, float]:
    ends, divergences = [], []
    with torch.no_grad():
        for batch, earlier in zip(batches, before, strict=True):
            logps, kept = batch.logps(model), batch.completion[:, 1:]
            last = batch.mask.sum(1) - 2
            ends += logps[torch.arange(len(last)), last].exp().tolist()
            divergences.append(float(((earlier - logps) * kept).sum() / kept.sum()))
    return {"mean": round(mean(ends), 4), "least": round(min(ends), 5), "nats_per_token": round(mean(divergences), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of the quickstart")
    parser.add_argument("--policy", type=Path, default=ROOT / "runs/demo-policy", help="its starting policy")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/end_of_message.json")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.policy)
    rollouts = read_rollouts(args.run)
    rollouts = rollouts.dropna(subset=["advantage", "duration_weight"])
    batches = [batch_of(rollouts[rollouts["step"] == step], tokenizer) for step in range(2)]
    found: dict[str, list[dict[str, float]]] = {}
    for kind in LOSSES:
        model = AutoModelForCausalLM.from_pretrained(args.policy, dtype=torch.float32)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
        with torch.no_grad():
            before = [batch.logps(model) for batch in batches]
        found[kind] = [measured(model, batches, before)]
        for batch in batches:
            optimizer.zero_grad()
            batch.loss(model, kind).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
            optimizer.step()
            found[kind].append(measured(model, batches, before))
        print(kind, *found[kind], sep="\n  ")
    net = [
        {
            "mean over completions": round(float((b.advantages[:, 0] / b.completion.sum(1)).sum()), 3),
            "mean over tokens": round(float(b.advantages.sum() / b.completion.sum(1).mean()), 3),
        }
        for b in batches
    ]
    print("net advantage of a token that all completions share:", net)
    content = {
        "command": f"python benchmarks/end_of_message.py {args.run}",
        "completions": [len(batch.ids) for batch in batches],
        "versions": {name: version(name) for name in ("trl_mle", "torch", "transformers")},
        "net advantage of a shared token": net,
        "end of the message after 0, 1 and 2 updates": found,
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
