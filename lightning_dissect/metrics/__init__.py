"""Similarity of units with audio features: torchmetrics metrics, usable without Lightning."""

from lightning_dissect.metrics.decodability import DecodabilitySimilarity
from lightning_dissect.metrics.dense_sift import DenseSIFTSimilarity
from lightning_dissect.metrics.euclidean import EuclideanSimilarity
from lightning_dissect.metrics.iou import IoUSimilarity
from lightning_dissect.metrics.layer import CCASimilarity, CKASimilarity, RegressionSimilarity
from lightning_dissect.metrics.mutual_information import MutualInformationSimilarity
from lightning_dissect.metrics.paired import PairedMetric
from lightning_dissect.metrics.pearson import PearsonSimilarity
from lightning_dissect.metrics.sift import SIFTCountSimilarity, SIFTDistanceSimilarity, SIFTSimilarity
from lightning_dissect.metrics.similarity import Level, Similarity, SimilarityMetric
from lightning_dissect.metrics.spearman import SpearmanSimilarity

METRICS: dict[str, type[SimilarityMetric]] = {
    metric.name: metric
    for metric in (
        PearsonSimilarity,
        SpearmanSimilarity,
        EuclideanSimilarity,
        SIFTSimilarity,
        SIFTCountSimilarity,
        SIFTDistanceSimilarity,
        DenseSIFTSimilarity,
        IoUSimilarity,
        MutualInformationSimilarity,
        CKASimilarity,
        CCASimilarity,
        RegressionSimilarity,
        DecodabilitySimilarity,
    )
}
"""The metrics by the names that tables and arguments use."""

__all__ = [
    "METRICS",
    "CCASimilarity",
    "CKASimilarity",
    "DecodabilitySimilarity",
    "DenseSIFTSimilarity",
    "EuclideanSimilarity",
    "IoUSimilarity",
    "Level",
    "MutualInformationSimilarity",
    "PairedMetric",
    "PearsonSimilarity",
    "RegressionSimilarity",
    "SIFTCountSimilarity",
    "SIFTDistanceSimilarity",
    "SIFTSimilarity",
    "Similarity",
    "SimilarityMetric",
    "SpearmanSimilarity",
]
