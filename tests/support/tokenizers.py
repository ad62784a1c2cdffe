"""Small tokenizers with the chat templates and the special tokens of families of models, made without a download."""

# ruff: noqa: RUF001 (tokens of some models have look-alikes of ASCII characters)
from __future__ import annotations

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

MESSAGES = "{% for message in messages %}"
TEMPLATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "llama": (
        "{{ '<|begin_of_text|>' }}"
        + MESSAGES
        + "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] + '<|eot_id|>' }}{% endfor %}"
        "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "gemma": (
        "{{ '<bos>' }}"
        + MESSAGES
        + "{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] + '<end_of_turn>\n' }}{% endfor %}"
        "{{ '<start_of_turn>model\n' }}",
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
    ),
    "mistral": (
        "{{ '<s>' }}" + MESSAGES + "{{ '[INST]' + message['content'] + '[/INST]' }}{% endfor %}",
        ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"),
    ),
    "deepseek": (
        "{{ '<｜begin▁of▁sentence｜>' }}"
        + MESSAGES
        + "{{ '<｜User｜>' + message['content'] }}{% endfor %}{{ '<｜Assistant｜>' }}",
        ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    ),
    # No model has these. What a tokenizer lists must not open a turn, whatever it looks like.
    "odd": (
        MESSAGES + "{{ '[USER]' + message['content'] + '|||END|||' }}{% endfor %}{{ '[ASSISTANT]' }}",
        ("[USER]", "[ASSISTANT]", "|||END|||", "@@", "@a"),
    ),
}
"""Family -> its chat template and its special tokens."""


def family_tokenizer(family: str, texts: Sequence[str], vocab_size: int = 600) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, trained on `texts`."""
    template, tokens = TEMPLATES[family]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe)
    tokenizer.chat_template = template
    return tokenizer
