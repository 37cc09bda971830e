"""The tools that a user would pick instead, each set up as its makers advise, on the same rows within the same time.

A peer is a module with `answer(task)`. It runs in a process of its own, in an environment of its own where it needs
packages that loraloom has not (`environments.py`), and is ended when its time is up (`running.py`). Modules import what
they measure when they are called, and nothing of loraloom but for the one under test.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One tool: how it is named, what it needs, and whose advice its settings follow."""

    name: str
    title: str
    advice: str
    packages: tuple[str, ...] = ()
    """What pip installs into the peer's own environment; without any it runs in loraloom's."""
    encoder: bool = True
    """Whether it is given the encoder."""
    setup: int = 1
    """Counts its set-ups in this study: a result keeps its own, and one of an earlier is measured again."""
    earlier: str = ""
    """How the set-up before this one was another, of which there may be results."""


OURS = "loraloom"
LEAST_STEPS = 200
"""Of any encoder's training: few rows are read more often, or 64 of them would be read in 8 steps."""
_ALL_BUT_RARE = "from 1,000 rows on, what stands in one row alone was left out (min_df 2)"
PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            OURS,
            "loraloom, default search",
            "a recipe of data, encoder and budget alone: 1,000,000 trainable parameters, and the time; "
            "from 2026-11-27 on without its report",
            setup=2,
            earlier="until 2026-11-30 its defaults were others: of fewer than 1,000 rows no mean of seeds, of many "
            "rows no preset of every layer at first, and in little time presets compared on the fewest of four rungs",
        ),
        Peer(
            "contest",
            "the contest's preset, HF Trainer + PEFT",
            "rank 4, alpha 16, biases of adapted layers, native head, Adam at 1e-3, batch 16, constant rate, one epoch",
            setup=2,
            earlier="it trained for as many steps as an estimate had room for, which left time unused",
        ),
        Peer(
            "finetune",
            "full fine-tuning, HF Trainer",
            "Devlin et al. 2019, A.3 (rates 3e-5, 5e-5, 2e-5 by held-out rows if three trainings fit, else the first; "
            "batch 16, three epochs), for encoders narrower than 768 Turc et al. 2019 (1e-4, 3e-4, 5e-5; four epochs); "
            "Mosbach et al. 2021 for few rows (up to 20 epochs, here 200 steps at least; warm-up, linear decay); the "
            "decay ends with the time",
            setup=3,
            earlier="it made fewer than 200 steps over few rows; or it trained at a wide encoder's rate whatever the "
            "width, and left up to half of its time unused",
        ),
        Peer(
            "probe",
            "logistic regression on frozen embeddings",
            "mean pooling and unit length, as sentence-transformers has them; C by cross-validation",
            setup=2,
            earlier="fewer rows were embedded than there was time for",
        ),
        Peer(
            "setfit",
            "SetFit",
            "its documentation: oversampled pairs, one epoch, batch 16, rate 2e-5, logistic regression as the head",
            ("setfit==1.2.0",),
        ),
        Peer(
            "svm",
            "TF-IDF + linear SVM",
            "1- and 2-grams, sublinear counts (Wang and Manning 2012; scikit-learn's guide), C and min_df (1 or 2) by "
            "cross-validation, five minutes at most",
            encoder=False,
            setup=2,
            earlier=_ALL_BUT_RARE,
        ),
        Peer(
            "logreg",
            "TF-IDF + logistic regression",
            "1- and 2-grams, sublinear counts (scikit-learn's guide), C and min_df (1 or 2) by cross-validation, five "
            "minutes at most",
            encoder=False,
            setup=2,
            earlier=_ALL_BUT_RARE,
        ),
        Peer(
            "fasttext",
            "fastText",
            "its tutorial: lower case, punctuation apart, automatic hyperparameter optimization on held-out rows",
            ("fasttext-community==0.11.9",),
            encoder=False,
        ),
        Peer(
            "autointent",
            "AutoIntent",
            "its quick start: preset classic-light, with the encoder as its embedder",
            ("autointent[sentence-transformers]==0.4.0",),
            setup=2,
            earlier="the study gave it the seed 0, which it refuses",
        ),
        Peer(
            "autogluon_text",
            "AutoGluon MultiModalPredictor",
            "its text tutorial: fit with a time limit, and the encoder as its checkpoint",
            ("autogluon.multimodal==1.6.3",),
        ),
        Peer(
            "autogluon_tabular",
            "AutoGluon TabularPredictor",
            "its quick start: n-grams of the text column, preset medium_quality with a time limit, best_quality from "
            "an hour on",
            ("autogluon.tabular[lightgbm,xgboost]==1.6.3",),
            encoder=False,
        ),
        Peer(
            "bertuner",
            "bertuner",
            "its documentation: its default space for single labels, with the encoder as the only model",
            ("bertuner==0.2.4",),
        ),
    )
}
