"""How far loom may be from the reference, with the reason of each distance: the one table of the numerics suite.

Both engines compute the same sums in another order (padded or not, one product of query, key and value or three), so
that they differ by rounding: 2^-24 of a value in fp32, times the square root of how many roundings follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Of a run: its losses, final weights, and accuracies, all absolute."""

    losses: float
    weights: float
    accuracies: float = 0.0


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Distances are relative to the largest value of the tensor compared, unless a comment says otherwise."""

    # A pass forward and back is some 30 products of sums of 20 to 100 terms: 30 · sqrt(100) · 2^-24 = 2e-5 at worst;
    # the spread initial weights of the tiny models make attention sharp, which amplifies what comes from below.
    loss: float = 2e-5
    logits: float = 5e-5
    gradient: float = 1e-4
    # The same in fp64, where nothing but an error of meaning can be seen: 2^-53 in place of 2^-24.
    loss_fp64: float = 1e-12
    gradient_fp64: float = 1e-11
    # A gradient that is zero by mathematics (the key's bias, see `both.key_bias`) is rounding alone; its distance is
    # measured against the largest gradient of all parameters.
    gradient_floor: float = 2e-6
    gradient_floor_fp64: float = 1e-14
    # A run of 2 to 30 steps. SGD's steps are linear in the gradients, so that their rounding adds up: ten roundings of
    # weights of about 1, and of losses of about 1 that follow from them. Seen on one processor of three: weights off by
    # 6e-6.
    sgd: Tolerance = Tolerance(losses=1e-5, weights=1e-5)
    # With rslora's scale, alpha / sqrt(r), and A drawn wider, the loss falls by half in a few steps: what one step has
    # rounded moves the next ones as much farther. Seen on one processor of two: 2e-5.
    sgd_steep: Tolerance = Tolerance(losses=5e-5, weights=2e-5)
    # Adam divides by the gradient's size: where a gradient is hardly above its own rounding, so is the step, at a rate
    # of 0.003 or 0.01; such weights are few, and the loss depends on them little, by the same measure.
    adam: Tolerance = Tolerance(losses=2e-5, weights=5e-5)
    # torch.optim.Muon orthogonalises in bf16: a gradient's rounding of 2^-24 may turn a value of the step by 2^-8, and
    # five iterations multiply small singular values by up to 3.4^5. A step is of RMS 0.2 · 0.003, and 14 of them sum to
    # 8e-3. Accuracies are over 12 and 21 rows: a prediction may turn.
    muon: Tolerance = Tolerance(losses=2e-3, weights=2e-3, accuracies=0.1)
    # The same without the rounding to bf16: 2^-24 for 2^-8, but small singular values are still multiplied, so that a
    # gradient's distance of 1e-4 (above) may be 4 % of a step, 3e-5. Seen over 12 steps: weights off by 2e-5, losses by
    # 2e-6 (AMD EPYC); five times the weights' is room for other processors.
    muon_fp32: Tolerance = Tolerance(losses=1e-4, weights=1e-4)
    # A trial in a pack and alone, in fp64, over three steps of each optimizer. An Adam step's slope in the gradient is
    # at most rate / eps = 1e5, which makes 1e-10 of a gradient's rounding of some 1e-15: 3e-10 in three steps. Where no
    # gradient is that small, far less: losses off by 5e-15 and weights by 7e-16 were seen.
    pack: float = 1e-9
    # Activations rounded to bf16, 2^-9 of a value, some forty times on the way forward and back, with attention and
    # norms between: 1 to 2.6 % of a gradient's norm. A single small tensor (a first layer's query) has up to 12 %, by
    # plain torch in bf16, whose roundings are others, up to 8 %: the mean of about fifty tensors is compared with its
    # mean, of which it was 0.6 to 1.2 times, 0.93 over all cases. The gradients' three bounds are 1.3 to 1.5 times the
    # greatest that was seen (AMD EPYC), since other processors sum in another order.
    loss_bf16: float = 1e-2
    gradient_bf16: float = 0.15
    gradient_bf16_mean: float = 0.04
    beside_plain_bf16: float = 1.6
    # fp16 rounds to 2^-12 of a value, an eighth of what bf16 does: 0.5 % of a gradient's norm in the mean and 3.1 % of
    # a single small tensor's (a first layer's query) were seen, 0.14 % of a loss. The bounds are 1.4 times as much.
    loss_fp16: float = 2e-3
    gradient_fp16: float = 0.045
    # Logits of a mixed batch and of an adapter alone, both in bf16, by the norm of the difference: the two round to
    # bf16 (2^-9) in some ten places of each of two layers, and the spread weights of the tiny models make attention
    # sharp, as above: 2^-9 · sqrt(20) is 1 %, and attention amplifies it a few times.
    mixed_bf16: float = 0.05

    def run(self, optim: str) -> Tolerance:
        """Of a training run by an optimizer."""
        return {"sgd": self.sgd, "muon": self.muon}.get(optim, self.adam)


TOLERANCES = Tolerances()
