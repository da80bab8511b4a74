"""Similarity of units with audio features: torchmetrics metrics, usable without Lightning."""

from lightning_dissect.levels import Level
from lightning_dissect.metrics.decodability import DecodabilitySimilarity
from lightning_dissect.metrics.dense_sift import DenseSIFTSimilarity
from lightning_dissect.metrics.descriptors import DescriptorMetric
from lightning_dissect.metrics.euclidean import EuclideanSimilarity
from lightning_dissect.metrics.iou import IoUSimilarity
from lightning_dissect.metrics.layer import CCASimilarity, CKASimilarity, RegressionSimilarity
from lightning_dissect.metrics.metric import SimilarityMetric
from lightning_dissect.metrics.mutual_information import MutualInformationSimilarity
from lightning_dissect.metrics.pearson import PearsonSimilarity
from lightning_dissect.metrics.sift import SIFTCountSimilarity, SIFTDistanceSimilarity, SIFTSimilarity
from lightning_dissect.metrics.similarity import Similarity
from lightning_dissect.metrics.spearman import SpearmanSimilarity
from lightning_dissect.metrics.swapped_pairs import PairedMetric

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
    "DescriptorMetric",
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
