"""The metrics of a registration, each with a name, a unit and the direction that is better."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What a metric is.

    Attributes:
        title: for headings.
        unit: of the values, or "".
        better: which direction is better, "higher" or "lower".
        definition: how it is computed, in a few words.
        form: how values are written in tables, as ``str.format`` takes it.
    """

    title: str
    unit: str
    better: str
    definition: str
    form: str = "{:.4g}"

    @property
    def heading(self) -> str:
        """The title with the unit in parentheses."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


#: Every metric that is measured, by its name in results: the one table of titles, units and directions.
METRICS: dict[str, Metric] = {
    "dice": Metric(
        "Dice",
        "",
        "higher",
        "2 |A and B| / (|A| + |B|), mean over the labels of both images; 0 for one of which nothing is left",
        "{:.3f}",
    ),
    "hd95_mm": Metric(
        "HD95",
        "mm",
        "lower",
        "larger of the two directed 95th percentiles of surface distance, weighted by surface area, mean over labels",
        "{:.2f}",
    ),
    "hd_mm": Metric(
        "HD", "mm", "lower", "Hausdorff distance, the largest surface distance, mean over labels", "{:.2f}"
    ),
    "assd_mm": Metric("ASSD", "mm", "lower", "average symmetric surface distance, mean over labels"),
    "epe_voxels": Metric(
        "Endpoint error", "voxels", "lower", "mean distance of the displacement to the true one, of synthetic pairs"
    ),
    "ncc": Metric(
        "NCC",
        "",
        "higher",
        "Pearson correlation of the intensities inside the mask, cut off at the 0.1 and 99.9 percentiles of each image",
        "{:.3f}",
    ),
    "nmi": Metric("NMI", "", "higher", "(H(F) + H(W)) / H(F, W), 64 bins, inside the mask; 1 to 2"),
    "nmi_unit": Metric("NMI, 0 to 1", "", "higher", "2 I(F, W) / (H(F) + H(W)), 64 bins, inside the mask", "{:.3f}"),
    "ssim": Metric(
        "SSIM", "", "higher", "structural similarity, Gaussian window of sigma 1.5 voxels, mean in the mask", "{:.3f}"
    ),
    "mse": Metric("MSE", "", "lower", "mean squared difference of the intensities, each image scaled to 0..1"),
    "folds_percent": Metric(
        "|J| <= 0", "%", "lower", "voxels with a non-positive Jacobian by central differences", "{:.3g}"
    ),
    "folds_whole_percent": Metric(
        "|J| <= 0, whole volume",
        "%",
        "lower",
        "the same of all voxels, background included, as in TransMorph's tables",
        "{:.3g}",
    ),
    "ndv_percent": Metric(
        "NDV", "%", "lower", "non-diffeomorphic volume, digital criterion (Liu et al. 2024)", "{:.3g}"
    ),
    "digital_folds_percent": Metric("Digital folds", "%", "lower", "voxels that fail the digital criterion"),
    "sdlogj": Metric("SDlogJ", "", "lower", "standard deviation of log max(|J|, 1e-9)", "{:.3f}"),
    "sdlogj_learn2reg": Metric(
        "SDlogJ (Learn2Reg)", "", "lower", "as Learn2Reg computes it: of log(|J| + 3); not comparable to SDlogJ"
    ),
    "jacobian_min": Metric("Smallest |J|", "", "higher", "smallest Jacobian of the whole transform in the mask"),
    "jacobian_max": Metric("Largest |J|", "", "lower", "largest Jacobian of the whole transform in the mask"),
    "inverse_error_mm": Metric(
        "Inverse error",
        "mm",
        "lower",
        "mean distance of points of the mask, mapped forward and back, from where they started",
    ),
    "inverse_error_max_mm": Metric("Largest inverse error", "mm", "lower", "largest of those distances"),
    "inverse_over_tenth_mm_percent": Metric(
        "Inverse error > 0.1 mm", "%", "lower", "part of those points above 0.1 mm"
    ),
    "topology_changes": Metric(
        "Topology changes", "labels", "lower", "labels whose number of parts or Euler number differs after warping"
    ),
    "uncertainty_mm": Metric(
        "Uncertainty",
        "mm",
        "lower",
        "root mean square distance of results of perturbed inputs from their mean, in the mask",
    ),
    "uncertainty_p95_mm": Metric(
        "Uncertainty, 95%", "mm", "lower", "95% of the mask are nearer to that mean than this"
    ),
    "tre_mm": Metric(
        "TRE", "mm", "lower", "mean distance of landmarks, moved by the transform, to their partners", "{:.2f}"
    ),
    "tre_max_mm": Metric("Largest TRE", "mm", "lower", "largest of those distances"),
    "guided_tre_mm": Metric(
        "Guiding landmarks",
        "mm",
        "lower",
        "the same of landmarks that guided it, which measures nothing",
        "{:.2f}",
    ),
    "guided_dice": Metric(
        "Guiding structures",
        "",
        "higher",
        "Dice of structures that guided it, which measures nothing",
        "{:.3f}",
    ),
}
