"""The duration-weighted loss, written down a second time: small formulas that share no code with the trainer.

`expected_step` gives the parameters after one SGD step. They are compared with those of a run, so that the weights, the
baseline, the clipping, the KL term, the accumulation and the mean over processes are all checked at once.
"""

from __future__ import annotations

import math

import torch

from tests.support.loss_cases import LEARNING_RATE, Case, lora_config, score, seconds
from tests.support.tiny import tiny_model

FLOOR_S = 0.01


def advantages_of(texts: list[str], group: int, scale: str = "group") -> list[float]:
    """Reward minus the mean of the group, by its standard deviation; 0 for a completion without a reward."""
    rewards = [score(text) for text in texts]
    known = [reward for reward in rewards if reward is not None]
    whole_mean = sum(known) / len(known)
    whole_std = math.sqrt(sum((r - whole_mean) ** 2 for r in known) / (len(known) - 1))
    result = []
    for first in range(0, len(rewards), group):
        of_group = [r for r in rewards[first : first + group] if r is not None]
        mean = sum(of_group) / len(of_group)
        std = math.sqrt(sum((r - mean) ** 2 for r in of_group) / max(len(of_group) - 1, 1))
        divisor = {"group": std + 1e-4, "batch": whole_std + 1e-4, "none": 1.0}[scale]
        result += [0.0 if r is None else (r - mean) / divisor for r in rewards[first : first + group]]
    return result


def weights_of(texts: list[str], trained: list[bool]) -> list[float]:
    """Duration over the mean duration of the completions that are trained on."""
    durations = [max(seconds(text) or 0.0, FLOOR_S) for text in texts]
    counted = [d for d, text, is_trained in zip(durations, texts, trained, strict=True) if is_trained]
    mean = sum(counted) / len(counted)
    return [d / mean for d in durations]


def log_probabilities(model, batch) -> torch.Tensor:
    """Shape `(b, T)`, by a plain forward and `log_softmax`."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    picked = torch.log_softmax(logits, dim=-1).gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    return picked[:, -batch["completion_ids"].size(1) :]


def model_with(state: dict[str, torch.Tensor], lora: bool):
    model = tiny_model()
    if lora:
        from peft import get_peft_model

        model = get_peft_model(model, lora_config())
    parameters = dict(model.named_parameters())
    assert parameters.keys() == state.keys(), parameters.keys() ^ state.keys()
    with torch.no_grad():
        for name, value in state.items():
            parameters[name].copy_(value)
    return model.train()


def policy_loss(loss_type: str, ratio, logps, old, mask, advantage, settings: dict) -> torch.Tensor:
    """The loss of every token, shape `(b, T)`. `advantage`, `(b, 1)`, already has its weight."""
    low, high = settings.get("epsilon", 0.2), settings.get("epsilon_high", settings.get("epsilon", 0.2))
    if loss_type == "cispo":
        return -ratio.detach().clamp(max=high) * advantage * logps
    if loss_type == "sapo":
        temperature = torch.where(advantage > 0, torch.tensor(1.0), torch.tensor(1.05))
        return -4 / temperature * torch.sigmoid(temperature * (ratio - 1)) * advantage
    if loss_type == "vespo":
        k = torch.where(advantage >= 0, torch.tensor(2.0), torch.tensor(3.0))
        decay = torch.where(advantage >= 0, torch.tensor(3.0), torch.tensor(2.0))
        log_w = ((logps - old).clamp(-20, 20) * mask).sum(1, keepdim=True).clamp(math.log(1e-8), 20).detach()
        return -torch.exp(decay + k * log_w - decay * torch.exp(log_w)) * advantage * logps
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def micro_loss(case: Case, settings: dict, per_token, mask, tokens_of_window: float, length: int, accumulation: int):
    """How tokens become one number; `tokens_of_window` are those of the global batch of one update, by processes."""
    summed = (per_token * mask).sum()
    if case.loss_type in ("grpo", "sapo"):
        return ((per_token * mask).sum(1) / mask.sum(1).clamp(min=1)).mean() / accumulation
    if case.loss_type == "bnpo":
        return summed / mask.sum().clamp(min=1) / accumulation
    if case.loss_type == "dr_grpo":
        return summed / (len(mask) * length) / accumulation
    if case.loss_type == "luspo":
        return (per_token * mask).sum(1).mean() / accumulation
    return summed / tokens_of_window


def expected_step(case: Case, records: list[dict], step: int) -> dict[str, torch.Tensor]:
    """Trainable parameters after optimizer step `step`, from the batches of all processes and the parameters before it."""
    settings = case.settings()
    state = records[0]["states"][step]
    accumulation = settings.get("gradient_accumulation_steps", 2)
    steps_per_generation = settings.get("steps_per_generation", accumulation)
    group, beta, length = settings.get("num_generations", 4), settings.get("beta", 0.0), 8
    total: dict[str, torch.Tensor] = {}
    for record in records:
        for batch in (batch for batch in record["batches"] if batch["step"] == step):
            generation = int(batch["generation"][0])
            texts = record["texts"][generation]
            masks = _masks(records, generation)
            trained = [bool(masks[row].any()) and score(text) is not None for row, text in enumerate(texts)]
            plain = advantages_of(texts, group, settings.get("scale_rewards", "group"))
            weights = weights_of(texts, trained)
            rows = batch["row"].tolist()
            effective = torch.tensor([plain[row] * weights[row] * trained[row] for row in rows])
            was = torch.where(batch["completion_mask"].any(1), batch["advantages"], torch.zeros(len(rows)))
            assert torch.allclose(was, effective, atol=1e-6, rtol=1e-6), "effective advantages"

            mask = batch["completion_mask"].float()
            model = model_with(state, case.lora)
            logps = log_probabilities(model, batch)
            old = logps.detach()
            born = generation * steps_per_generation * case.iterations // accumulation  # the step that generated it
            if born != step:
                with torch.no_grad():
                    old = log_probabilities(model_with(records[0]["states"][born], case.lora), batch)
            ratio = torch.exp(logps - old)
            if settings.get("importance_sampling_level") == "sequence":
                mean = ((logps - old) * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
                ratio = torch.exp(mean)
            per_token = policy_loss(case.loss_type, ratio, logps, old, mask, effective.unsqueeze(1), settings)
            if beta:  # not weighted; TRL multiplies it by the ratio (`use_bias_correction_kl`)
                with torch.no_grad():
                    reference = log_probabilities(model_with(records[0]["states"][0], case.lora), batch)
                per_token = per_token + beta * ratio * (torch.exp(reference - logps) - (reference - logps) - 1)
            window = float(masks.sum()) / len(records) * accumulation / steps_per_generation
            loss = micro_loss(case, settings, per_token, mask, max(window, 1.0), length, accumulation)
            loss.backward()
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    total[name] = total.get(name, 0) + parameter.grad / len(records)
    return {name: state[name] - LEARNING_RATE * total[name] for name in records[0]["trainable"]}


def _masks(records: list[dict], generation: int) -> torch.Tensor:
    """Completion masks of a whole generation batch, in the order of its rows, padded to one length."""
    rows: dict[int, torch.Tensor] = {}
    for record in records:
        for batch in record["batches"]:
            if int(batch["generation"][0]) == generation:
                rows.update({int(row): mask for row, mask in zip(batch["row"], batch["completion_mask"], strict=True)})
    longest = max(mask.numel() for mask in rows.values())
    return torch.stack([torch.nn.functional.pad(rows[row], (0, longest - rows[row].numel())) for row in sorted(rows)])


def check(case: Case, records: list[dict], tolerance: float = 1e-6) -> None:
    """Every optimizer step of a run is the expected one."""
    steps = len(records[0]["states"]) - 1
    assert steps >= 2
    moved = 0.0
    for step in range(steps):
        expected = expected_step(case, records, step)
        for record in records:
            for name, value in expected.items():
                difference = (record["states"][step + 1][name] - value).abs().max().item()
                assert difference < tolerance, f"{case}, step {step}, {name}: {difference}"
                moved = max(moved, (value - records[0]["states"][step][name]).abs().max().item())
    assert moved > 1e-4, "nothing was learned, so nothing was checked"
