"""The demo policy: a Qwen2 of a few million parameters and a tokenizer of its own, both made without any download.

The demo policy is for machines without a GPU or without access to a model hub. Its tokens are whole idioms of the
demonstrations, so that a program has about thirty tokens.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from trl_mle.demo import tool_format
from trl_mle.errors import ConfigError

if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Chat template in the format ChatML."""
ROLES = ("system\n", "user\n", "assistant\n")
"""Roles of messages as the chat template writes them. Letter by letter they would be a fifth of a prompt."""
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Padding, start of a message, end of a message; the same tokens as in Qwen2."""
MAX_TOKEN_CHARACTERS = 160
"""Longest token, in characters."""
MERGES_PER_IDIOM = 4
"""BPE merges per idiom of the vocabulary. Most merges are only steps to a longer idiom."""
NUMBER = re.compile(r"(?<=score: )[-+\d.e]+|(?<=It ran )\d+(?:\.\d+)?")
"""Numbers that differ from prompt to prompt: scores and seconds of earlier solutions."""
SMALLEST_VOCABULARY = 256 + len(SPECIAL_TOKENS)
"""Smallest vocabulary. Every byte is a token, so that the policy can write any text."""


def build_tokenizer(texts: Iterable[str], vocab_size: int = 4096, tool_calls: bool = False) -> Qwen2Tokenizer:
    """Build a byte-level tokenizer whose added tokens are whole idioms of `texts`.

    Idioms are found by BPE; an idiom may cross words but not lines. The class is `Qwen2Tokenizer` because `AutoTokenizer`
    loads the tokenizer of any Qwen2 model as a `Qwen2Tokenizer`: a tokenizer that splits text in another way would be loaded
    without a warning and split differently. Added tokens are not affected by this.

    Args:
        texts (iterable of `str`):
            Prompts and completions, which shall have few tokens.
        vocab_size (`int`, *optional*, defaults to `4096`):
            Largest size of the vocabulary, at least 259. Few or short texts give a smaller one.
        tool_calls (`bool`, *optional*, defaults to `False`):
            Whether the chat template renders tool calls, and the tokenizer parses them (`tool_format.py`).

    Returns:
        `Qwen2Tokenizer`: with a ChatML template, `<|im_end|>` as end and `<|endoftext|>` as padding. Encoding and decoding
        a text gives it back (in Unicode's NFC form, as with every Qwen2 tokenizer).

    Raises:
        ConfigError: `vocab_size` is too small for all bytes.
    """
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import Qwen2Tokenizer

    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(f"`vocab_size` is {vocab_size}; it must be at least {SMALLEST_VOCABULARY}.")
    every_byte = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate((*SPECIAL_TOKENS, *every_byte))},
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    fixed: tuple[str, ...] = ROLES
    if tool_calls:
        tokenizer.chat_template = tool_format.CHAT_TEMPLATE
        tokenizer.response_template = dict(tool_format.RESPONSE_TEMPLATE)
        fixed += tool_format.MARKERS
    idioms = list(fixed[: vocab_size - SMALLEST_VOCABULARY])
    idioms += _idioms(texts, vocab_size - SMALLEST_VOCABULARY - len(idioms))
    tokenizer.add_tokens([AddedToken(idiom, normalized=False, special=False) for idiom in idioms])
    return tokenizer


def _idioms(texts: Iterable[str], count: int) -> list[str]:
    """At most `count` pieces of text with which byte-level BPE writes `texts`, the most frequent first.

    Scores and seconds belong to no piece, or each would be one of its own. The policy reads them digit by digit.
    Pieces that are only steps to a longer piece are left out. Added tokens are matched longest first, and such a step could
    match across the place where the policy has to decide between two idioms.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    miner = Tokenizer(models.BPE())
    miner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n+"), behavior="merged_with_previous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + MERGES_PER_IDIOM * count,
        min_frequency=2,
        initial_alphabet=alphabet,
        max_token_length=MAX_TOKEN_CHARACTERS,
        show_progress=False,
    )
    seen = Counter(piece for text in texts for piece in NUMBER.split(text))
    miner.train_from_iterator((text for text, times in seen.items() for _ in range(times)), trainer=trainer)
    used: Counter[str] = Counter()
    for text, times in seen.items():
        for start, end in miner.encode(text).offsets:
            used[text[start:end]] += times
    # A single byte is a token already. A piece that is not ASCII could be mistaken for bytes when it is decoded.
    return [piece for piece, _ in used.most_common() if len(piece) > 1 and piece.isascii()][:count]


def build_tiny_policy(
    tokenizer: Qwen2Tokenizer,
    hidden_size: int = 192,
    layers: int = 4,
    heads: int = 4,
    max_length: int = 2048,
    seed: int = 0,
) -> Qwen2ForCausalLM:
    """Build a Qwen2 with random weights for `tokenizer`.

    Args:
        tokenizer (`Qwen2Tokenizer`):
            Tokenizer that gives the size of the vocabulary and the ids of end and padding.
        hidden_size (`int`, *optional*, defaults to `192`):
            Width of the model, a multiple of `2 * heads`.
        layers, heads (`int`, *optional*, default to `4`):
            Number of layers, and of attention heads per layer. Two heads share their keys and values.
        max_length (`int`, *optional*, defaults to `2048`):
            Longest prompt and completion together, in tokens.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the weights.

    Raises:
        ConfigError: the sizes contradict each other.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    if min(hidden_size, layers, heads, max_length) < 1 or heads % 2 or hidden_size % (2 * heads):
        raise ConfigError(
            f"hidden_size={hidden_size}, layers={layers}, heads={heads}: all must be positive, `heads` even and "
            f"`hidden_size` a multiple of twice the heads, for example hidden_size=192, layers=4, heads=4."
        )
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=max_length,
        initializer_range=hidden_size
        ** -0.5,  # Qwen2's 0.02 suits wide models; here attention would start nearly uniform
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)
