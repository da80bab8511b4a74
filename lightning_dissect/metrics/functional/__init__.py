"""The metrics as functions of tensors."""

from lightning_dissect.metrics.functional.dense_sift import DenseDescriptors, dense_cosine, dense_descriptors
from lightning_dissect.metrics.functional.euclidean import euclidean_over_clips
from lightning_dissect.metrics.functional.iou import intersection_over_union
from lightning_dissect.metrics.functional.matching import (
    KeyPoints,
    MatchScores,
    consistent_matches,
    match_scores,
    mutual_matches,
)
from lightning_dissect.metrics.functional.mutual_information import mutual_information
from lightning_dissect.metrics.functional.pearson import pearson_over_clips, pearson_within_clips
from lightning_dissect.metrics.functional.sift import Matches, key_points, map_grid, sift_matches
from lightning_dissect.metrics.functional.significance import correlation_interval, correlation_p_value, t_p_value
from lightning_dissect.metrics.functional.spearman import spearman_over_clips, spearman_within_clips

__all__ = [
    "DenseDescriptors",
    "KeyPoints",
    "MatchScores",
    "Matches",
    "consistent_matches",
    "correlation_interval",
    "correlation_p_value",
    "dense_cosine",
    "dense_descriptors",
    "euclidean_over_clips",
    "intersection_over_union",
    "key_points",
    "map_grid",
    "match_scores",
    "mutual_information",
    "mutual_matches",
    "pearson_over_clips",
    "pearson_within_clips",
    "sift_matches",
    "spearman_over_clips",
    "spearman_within_clips",
    "t_p_value",
]
