"""A real but very small policy for trainer tests: byte-level tokenizer, two-layer Qwen2."""

from __future__ import annotations

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, set_seed

from trl_mle import DurationAwareConfig
from trl_mle.training.weighting.config import DurationSettings


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<|pad|>", "<|im_end|>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>", padding_side="left"
    )


def tiny_model(vocabulary: int = 258) -> Qwen2ForCausalLM:
    set_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )


def save_chat_model(folder) -> str:
    """Save a tiny model with a chat template in `folder`; returns its path."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[:20] }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    tiny_model().save_pretrained(folder)
    return str(folder)


def tiny_dataset(rows: int = 8) -> Dataset:
    return Dataset.from_list([{"prompt": f"task {row}: "} for row in range(rows)])


def tiny_args(output_dir, config_class=DurationAwareConfig, **changes):
    settings = {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 3,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 7,
    }
    if issubclass(config_class, DurationSettings):
        # The paper's bare rule: the durations of tests are small numbers.
        settings |= {"duration_floor_s": 0.01, "duration_clip": None}
    return config_class(**{**settings, **changes})
