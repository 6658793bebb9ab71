"""What a tiny target says, as samples to train drafters on."""

import copy

import numpy as np
import tiny
import torch

from mmspec.core.request import Prompt
from mmspec.train.packing import Sample


class Answers:
    """Eight greedy answers of a sharpened tiny model, once to learn and once held out.

    Args:
        seeing: whether prompts have pictures where the model sees. shift: added to their tokens.
    """

    def __init__(self, name, seeing=True, shift=0):
        self.model = copy.deepcopy(tiny.reference(name))
        self.model.lm_head.weight.data *= 4  # random models hesitate; trained ones do not
        first = tiny.prompts(name if seeing else "llama")[0]
        first = Prompt(first.ids + shift, first.media)
        self.samples = []
        for seed in range(8):
            words = np.random.default_rng(seed).integers(1, 150, 6)
            prompt = Prompt(np.append(first.ids, words), first.media)
            inputs = tiny.model_inputs(name, prompt, torch.float32)
            with torch.inference_mode():
                said = self.model.generate(**inputs, do_sample=False, max_new_tokens=16)
            self.samples.append(Sample(prompt, said[0, len(prompt.ids) :].numpy(), kind="word"))

    def __len__(self):
        return 16

    def lengths(self):
        return [len(said) for said in self.samples] * 2

    def sample(self, number):
        return self.samples[number % 8]
