"""The nano family's tokenizer: byte-level BPE, single digits, and a chat template.

Pieces never straddle a newline run or a digit, so text encoded in parts cut there equals the text
encoded at once; and every byte has a token, so any text comes back exactly.
"""

from collections.abc import Iterable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mmspec.train.data import chat, copying, documents, picture_language, pictures, source

PAD, BOS, END, SYSTEM, USER, ASSISTANT, IMAGE = SPECIALS = (
    "<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>",
)  # fmt: skip
PIECES = r"\n+|\p{N}| ?[\p{L}\p{M}]+| ?[^\s\p{L}\p{M}\p{N}]+| +(?= )|\s"

# Pictures come first in a message whatever their place among its parts, as they did in training.
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] if part['type'] in ('image', 'image_url') -%}
{{- '<image>' -}}
{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}
{{- part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|assistant|>' -}}
{%- endif -%}
"""


def corpus(examples: int) -> Iterator[str]:
    """Text of every kind, `examples` rounds; a function of the count alone."""
    for seed in range(examples):
        for draw in (pictures.scene, pictures.chart, pictures.word):
            _, facts = draw(seed)
            yield picture_language.describe(facts)
            for asked in picture_language.questions(facts, seed):
                yield f"{asked.question}\n{asked.answer}"
        made, pairs = documents.document(seed, 300)
        yield made.text
        for _, chosen in (("", pairs[:4]), copying.repeat(seed, 40), copying.key_values(seed, 60),
                          chat.talk(seed, 0)):  # fmt: skip
            for pair in chosen[:4]:
                yield f"{pair.question}\n{pair.answer}"
        yield source.excerpt(seed, 1500)


def train(vocabulary: int, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train on `texts`; raises ValueError if they do not fill the vocabulary."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    if raw.get_vocab_size() != vocabulary:
        raise ValueError(f"the texts give {raw.get_vocab_size()} tokens, not {vocabulary}")
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=16384,
        padding_side="left",
    )
