"""The words that pages and tables use for features, metrics and levels."""

FEATURE_WORDS = {
    "input": "the input itself",
    "harmonic": "harmonic sound: notes that last",
    "percussive": "percussive sound: hits and attacks",
    "harmonic_ratio": "harmonic against percussive sound",
    "chroma": "pitch class: which of the twelve notes, in any octave",
    "hpcp": "pitch class, from spectral peaks",
    "loudness": "loudness: how strong it sounds",
    "loudness_ebur128": "loudness as broadcasters measure it",
    "onset_rate": "onset rate: how many notes begin a second",
    "onset_strength": "onset strength: where notes begin",
    "rms": "level: the energy of the waveform",
    "rms_db": "level: how loud, in dB",
    "centroid": "brightness: the spectrum's centre",
    "bandwidth": "the spectrum's spread",
    "rolloff": "where the spectrum ends",
    "flatness": "noisiness",
    "contrast": "peaks against valleys of the spectrum",
    "zcr": "zero crossings: noisy or bright sound",
    "mfcc": "timbre: the spectrum's coarse shape",
    "tonnetz": "harmony: fifths and thirds",
    "tempo": "tempo",
    "mel": "the input itself",
    "cqt": "the constant-Q spectrogram itself",
    "cqt_nnaudio": "the constant-Q spectrogram itself",
    "vqt": "the variable-Q spectrogram itself",
    "vqt_nnaudio": "the variable-Q spectrogram itself",
    "gammatonegram": "the spectrogram of a model of the ear",
}
"""What a feature is about; a user's own features have no entry."""

METRIC_WORDS = {
    "pearson": "correlation",
    "spearman": "rank correlation",
    "mutual_information": "mutual information",
    "euclidean": "nearness (Euclidean)",
    "sift": "matching shapes (SIFT)",
    "sift_count": "number of matching shapes (SIFT)",
    "sift_distance": "nearness of matching shapes (SIFT)",
    "dense_sift": "matching shapes on a grid (SIFT)",
    "iou": "overlap (IoU)",
    "cka": "kernel alignment (CKA)",
    "cca": "canonical correlation (CCA)",
    "regression": "linear regression",
    "decodability": "decodability",
}
"""What a metric measures; others go by their name."""

LEVEL_WORDS = {"clip": "one value a clip", "frame": "frame by frame", "map": "frequency × time"}
"""What a level compares."""


def describe_comparison(metric: str, level: str) -> str:
    """Say what was compared.

    Example:
        >>> describe_comparison("pearson", "clip")
        'correlation, one value a clip'
    """
    return f"{METRIC_WORDS.get(metric, metric)}, {LEVEL_WORDS.get(level, level)}"
