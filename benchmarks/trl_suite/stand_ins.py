"""Stand-ins for what TRL's tests load from the hub: tiny models and data sets, made here, under the names that the tests use.

`from_pretrained` and `load_dataset` take a folder of the working directory before they ask the hub. So the tests need no
change but one: where they write tokens as numbers of Qwen's vocabulary, [`renumbered`] puts those of the stand-ins.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
import trl
from datasets import Dataset, Features, Image, List, Value
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, set_seed
from transformers.convert_slow_tokenizer import bytes_to_unicode


@dataclass(frozen=True)
class Vocabulary:
    """How many tokens a model has, whether words and merges of letters are among them, and how many rows its data sets have."""

    tokens: int
    words: bool
    rows: int


VOCABULARIES = {"small": Vocabulary(320, words=False, rows=6), "large": Vocabulary(16_384, words=True, rows=4)}
"""Folder -> vocabulary. `large` is for tests that write numbers of tokens, `small` makes all others faster."""

BYTES, MERGES = 256, 2_000
QWEN = 151_643
"""Number of the first special token in Qwen's vocabularies. In those of the stand-ins, special tokens follow the bytes."""

SPECIAL = {
    "<|endoftext|>": 0,
    "<|im_start|>": 1,
    "<|im_end|>": 2,
    "<|vision_start|>": 9,
    "<|vision_end|>": 10,
    "<|vision_pad|>": 11,
    "<|image_pad|>": 12,
    "<|video_pad|>": 13,
    "<tool_call>": 14,
    "</tool_call>": 15,
}
"""Special tokens of Qwen's tokenizers, numbered from the first of them."""

WORDS = {
    4913: '{"', 606: "name", 788: '":', 330: ' "', 64648: "multiply", 22785: "_tool", 497: '",', 16370: "arguments",
    5212: ' {"', 11248: "}}\n", 7692: "async", 93054: "_multiply", 1513: " don", 944: "'t", 1414: " know", 894: " any",
    5392: " tool", 17453: "Done", 35744: "increment", 9520: "step", 2765: " won", 927: "sh", 411: "out", 1318: "text",
    6023: "hi", 95642: '"}}\n', 450: "de", 13477: "crement", 16252: " increment", 14172: "tool", 6659: "call", 397: ">\n",
    522: "</", 314: " {", 293: " b",
}  # fmt: skip
"""Words of Qwen's vocabulary that TRL's tests write as numbers, for completions that call a tool."""

NUMBERS = {QWEN + number: BYTES + number for number in SPECIAL.values()}
NUMBERS |= {number: BYTES + 16 + place for place, number in enumerate(WORDS)}
"""Number of a token in Qwen's vocabularies -> in those of the stand-ins. Bytes have the same in both."""

SIZES = {
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
}
NEMOTRON = {
    "hidden_size": 16, "layers_block_type": ["mamba", "attention", "moe"], "mamba_num_heads": 8, "mamba_head_dim": 4,
    "mamba_n_groups": 1, "ssm_state_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 32, "use_mamba_kernels": False,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
GLM = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 2, "use_qk_norm": True,
    "attention_bias": True,
}  # fmt: skip

MODELS = {
    "trl-internal-testing/tiny-Qwen2ForCausalLM-2.5": ("Qwen2", "ForCausalLM", {}),
    "Qwen/Qwen2.5-0.5B-Instruct": ("Qwen2", "ForCausalLM", {}),
    "trl-internal-testing/tiny-Qwen3ForCausalLM": ("Qwen3", "ForCausalLM", {}),
    "trl-internal-testing/tiny-Qwen3MoeForCausalLM": ("Qwen3Moe", "ForCausalLM", EXPERTS),
    "trl-internal-testing/tiny-LlamaForCausalLM-3.2": ("Llama", "ForCausalLM", {}),
    "trl-internal-testing/tiny-MistralForCausalLM-0.2": ("Mistral", "ForCausalLM", {}),
    "trl-internal-testing/tiny-Gemma2ForCausalLM": ("Gemma2", "ForCausalLM", {"head_dim": 2}),
    "trl-internal-testing/tiny-Cohere2ForCausalLM": ("Cohere2", "ForCausalLM", {"logit_scale": 1.0}),
    "trl-internal-testing/tiny-Glm4MoeForCausalLM": ("Glm4Moe", "ForCausalLM", GLM),
    "trl-internal-testing/tiny-GptOssForCausalLM": (
        "GptOss",
        "ForCausalLM",
        {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 2},
    ),
    "trl-internal-testing/tiny-NemotronHForCausalLM-nano": ("NemotronH", "ForCausalLM", NEMOTRON),
    "trl-internal-testing/tiny-Qwen2ForSequenceClassification-2.5": (
        "Qwen2",
        "ForSequenceClassification",
        {"num_labels": 1},
    ),
    "trl-internal-testing/tiny-Qwen3ForSequenceClassification": (
        "Qwen3",
        "ForSequenceClassification",
        {"num_labels": 1},
    ),
    "trl-internal-testing/tiny-LlamaForSequenceClassification-3.2": (
        "Llama",
        "ForSequenceClassification",
        {"num_labels": 1},
    ),
}
"""Name on the hub -> architecture, head, changes to the configuration."""

SENTENCES = ["Well begun is", "A stitch in time", "Many hands make", "Still waters", "Early birds", "No smoke"]


def renumbered(code: str) -> str:
    """The code of TRL's tests with the numbers of the stand-ins' tokens. Changed lines end in a comment that says so."""
    lines = code.splitlines()
    for place, line in enumerate(lines):
        # A list of tokens ends in a special one, if only to pad.
        if re.search(rf"\[(\d+, )+{QWEN // 1000}\d{{3}}[,\]]", line):
            changed = re.sub(r"\d+", lambda match: str(NUMBERS.get(int(match[0]), match[0])), line.partition("#")[0])
            lines[place] = f"{changed.rstrip()}  # renumbered"
    return "\n".join(lines) + "\n"


@functools.cache
def learned_merges() -> list[tuple[str, str]]:
    """Merges of letters to tokens, learned from TRL's code, so that a tool's answer has few tokens, as in TRL's tests."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + MERGES, initial_alphabet=sorted(alphabet), show_progress=False
    )
    learned.train_from_iterator(inspect.getsource(trl.GRPOTrainer).splitlines(keepends=True), trainer)
    return [(first, second) for first, second in json.loads(learned.to_str())["model"]["merges"]]


def tokenizer(vocabulary: Vocabulary, template: str = "qwen2_5") -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with bytes and special tokens of Qwen's, and, in a large vocabulary, the words of TRL's tests."""
    letters = bytes_to_unicode()
    numbers = {letter: number for number, letter in enumerate(letters.values())}
    numbers |= {word: BYTES + number for word, number in SPECIAL.items()}
    merges = []
    if vocabulary.words:
        spelled = {number: "".join(letters[byte] for byte in word.encode()) for number, word in WORDS.items()}
        numbers |= {word: NUMBERS[number] for number, word in spelled.items()}
        merges = learned_merges()
    known = set(numbers.values())
    free = (number for number in range(vocabulary.tokens) if number not in known)
    for first, second in merges:
        if first + second not in numbers:
            numbers[first + second] = next(free)
    # Every number stands for a text, so that completions of a model with random weights differ and have different rewards.
    numbers |= {f"w{number}": number for number in free}
    made = Tokenizer(models.BPE(vocab=numbers, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    # As in Qwen's tokenizers: the tags of tool calls stay where special tokens are skipped.
    made.add_tokens([AddedToken(word, special="tool_call" not in word, normalized=False) for word in SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<|endoftext|>", eos_token="<|im_end|>", model_max_length=32_768
    )
    fast.chat_template = (Path(trl.__file__).parent / "chat_templates" / f"{template}.jinja").read_text()
    return fast


def settings(vocabulary: Vocabulary) -> dict:
    """What the configurations of all models have in common."""
    ends = {"bos_token_id": None, "eos_token_id": BYTES + SPECIAL["<|im_end|>"], "pad_token_id": BYTES}
    return {"vocab_size": vocabulary.tokens, **SIZES, **ends}


def save_model(folder: Path, vocabulary: Vocabulary, architecture: str, head: str, changes: dict) -> None:
    """Save a tiny model with random weights, and its tokenizer."""
    set_seed(0)
    config = getattr(transformers, f"{architecture}Config")(**{**settings(vocabulary), **changes})
    model = getattr(transformers, f"{architecture}{head}")(config).to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        # Weights of transformers' own scale are so small that learning does not show in bfloat16.
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02 if "embed" in name else 0.3)
    model.save_pretrained(folder)
    template = "qwen3" if architecture.startswith("Qwen3") else "qwen2_5"
    tokenizer(vocabulary, template).save_pretrained(folder)


REMOTE_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class RemoteConfig(LlamaConfig):
    model_type = "remote"

class RemoteForCausalLM(LlamaForCausalLM):
    config_class = RemoteConfig
"""


def save_remote_model(folder: Path, vocabulary: Vocabulary) -> None:
    """Save a model whose code lies beside its weights."""
    names: dict = {"__name__": "remote"}
    exec(REMOTE_CODE, names)
    config = names["RemoteConfig"](**settings(vocabulary))
    config.auto_map = {"AutoConfig": "remote.RemoteConfig", "AutoModelForCausalLM": "remote.RemoteForCausalLM"}
    names["RemoteForCausalLM"](config).save_pretrained(folder)
    tokenizer(vocabulary).save_pretrained(folder)
    (folder / "remote.py").write_text(REMOTE_CODE)


def save_datasets(folder: Path, rows: int) -> None:
    """Save `zen`, `zen-image` and `zen-multi-image`, with the columns and splits of TRL's and other, fewer rows."""
    texts = SENTENCES[:rows]
    talk = [[{"role": "user", "content": f"{text}?"}] for text in texts]
    _save_dataset(folder / "zen", "standard_prompt_only", Dataset.from_dict({"prompt": texts}))
    _save_dataset(folder / "zen", "conversational_prompt_only", Dataset.from_dict({"prompt": talk}))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (32, 40, 3), dtype=np.uint8) for _ in texts]
    message = List({"role": Value("string"), "content": Value("string")})
    _save_dataset(
        folder / "zen-image",
        "conversational_prompt_only",
        Dataset.from_dict({"prompt": talk, "image": pictures}, features=Features(prompt=message, image=Image())),
    )
    _save_dataset(
        folder / "zen-multi-image",
        "conversational_prompt_only",
        Dataset.from_dict(
            {"prompt": talk, "images": [[picture] * (row % 3) for row, picture in enumerate(pictures)]},
            features=Features(prompt=message, images=List(Image())),
        ),
    )


def _save_dataset(folder: Path, config: str, rows: Dataset) -> None:
    (folder / config).mkdir(parents=True)
    for split, part in rows.train_test_split(test_size=2, shuffle=False).items():
        part.to_parquet(str(folder / config / f"{split}.parquet"))
    card = folder / "README.md"
    known = card.read_text().removesuffix("---\n") if card.exists() else "---\nconfigs:\n"
    files = "".join(f"  - split: {split}\n    path: {config}/{split}.parquet\n" for split in ("train", "test"))
    card.write_text(f"{known}- config_name: {config}\n  data_files:\n{files}---\n")


def make(folder: Path) -> None:
    """Make all stand-ins, once per vocabulary."""
    for name, vocabulary in VOCABULARIES.items():
        save_datasets(folder / name / "trl-internal-testing", vocabulary.rows)
        save_remote_model(folder / name / "trl-internal-testing/tiny-RemoteForCausalLM", vocabulary)
        for model, (architecture, head, changes) in MODELS.items():
            save_model(folder / name / model, vocabulary, architecture, head, changes)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
    for file in map(Path, sys.argv[2:]):
        file.write_text(renumbered(file.read_text()))
