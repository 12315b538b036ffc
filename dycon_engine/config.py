"""The settings of a run: schema, defaults, documentation and panel form at once.

One frozen dataclass per section. Values come, later over earlier, from the defaults, the profile,
a TOML file and `section.key=value` settings. Needs the standard library only, so that a panel can
show the form before PyTorch is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dycon_engine.errors import InputError
from dycon_engine.settings import Table, build, known, merge, parse_assignment, setting

LONGEST_TEXT = 1000  # characters of a text in a package
NETWORK_NAMES = ("mednext", "resunet3d", "unet3d", "vnet")  # made by `networks.build.NETWORKS`


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which cases are used, and how."""

    layout: str = setting(
        "auto",
        "How the folder is organised.",
        choices=("auto", "pairs", "nnunet", "msd", "hdf5", "manifest"),
    )
    order: str | None = setting(
        None,
        "Text file with one case name per line; fixes the order for `labeled` and `validation`.",
    )
    labeled: int | None = setting(
        None,
        "Train on the labels of the first so many cases; the labels of the rest are never read.",
        unit="cases",
        low=1,
    )
    validation: int | None = setting(
        None,
        "Hold out the last so many labeled cases to watch and calibrate; default: a fifth of "
        "`labeled`, or, where that is not set, of all with a label, none below 5.",
        unit="cases",
        low=0,
    )
    test: int = setting(
        0, "Set aside so many labeled cases, never read in training.", unit="cases", low=0
    )
    seed: int = setting(0, "Seed of the split where no order or role is given.", low=0)
    patient_pattern: str | None = setting(
        None, "Regular expression on the case name; its first group is the patient."
    )
    label_names: tuple[str, ...] = setting(
        (), "Names of the classes by rising label value, background left out."
    )
    spacing_mm: tuple[float, float, float] | None = setting(
        None, "Spacing (z, y, x) of files that carry none, such as HDF5.", unit="mm", low=1e-4
    )
    cache_gib: float = setting(
        4.0,
        "Prepared cases are held in memory up to this size, beyond it mapped from disk.",
        unit="GiB",
        low=0.0,
    )


@dataclass(frozen=True, kw_only=True)
class PreprocessingConfig:
    """How a scan becomes the network's input; undone exactly for the result."""

    spacing_mm: tuple[float, float, float] | None = setting(
        None,
        "Voxel size (z, y, x) of the network's grid; default: the median of the labeled cases.",
        unit="mm",
        low=1e-4,
    )
    normalization: str = setting(
        "auto",
        "Intensities: z-score for MR, window for CT.",
        choices=("auto", "zscore", "window", "none"),
    )
    window: tuple[float, float] = setting((-160.0, 240.0), "CT window, low and high.", unit="HU")
    clip_percentiles: tuple[float, float] = setting(
        (0.05, 99.95),
        "z-score only: intensities are clipped to these percentiles of the non-air voxels.",
        unit="%",
    )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network that is trained."""

    name: str = setting(
        "unet3d",
        "Architecture; resunet3d is the U-Net with a residual encoder as in nnU-Net, mednext one "
        "with large kernels that needs MONAI (pip install monai).",
        choices=NETWORK_NAMES,
    )
    filters: tuple[int, ...] = setting((16, 32, 64, 128, 256), "Feature maps per level.", low=1)
    norm: str = setting(
        "instance", "Normalisation.", choices=("instance", "batch", "group", "none")
    )
    dropout: float = setting(
        0.0, "Dropout probability in the deepest and the last level.", low=0.0, high=0.9
    )
    negative_slope: float = setting(
        0.01, "Slope of the activation below zero; 0 = ReLU.", low=0.0, high=1.0
    )
    stem: int = setting(
        1,
        "U-Net only: 2 works at half resolution between a strided first and a transposed last "
        "convolution, at a third of the cost.",
        low=1,
        high=4,
    )
    upsampling: str = setting(
        "transposed",
        "U-Net only: learned by transposed convolutions, or trilinear.",
        choices=("transposed", "trilinear"),
    )


@dataclass(frozen=True, kw_only=True)
class MethodSelection:
    """The training recipe and its own settings (`describe --methods` lists them)."""

    name: str = setting("dycon", "Training recipe.")
    settings: Table = field(default_factory=dict, metadata={"help": "Settings of the recipe."})


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """Random changes of training patches."""

    preset: str = setting(
        "strong",
        "strong: rotation, scale, intensity, noise, low resolution; "
        "paper: right-angle rotations and flips.",
        choices=("strong", "paper", "none"),
    )
    rotation_deg: tuple[float, float, float] = setting(
        (20.0, 10.0, 10.0), "Largest rotation about the z, y and x axis.", unit="degree", low=0.0
    )
    scale: tuple[float, float] = setting(
        (0.8, 1.25), "Range of the zoom factor, low and high.", low=0.1, high=10.0
    )
    spatial: float = setting(0.8, "Probability of rotation and scale.", low=0.0, high=1.0)
    flip_axes: str = setting(
        "", "Axes that may be mirrored, letters of zyx; anatomy is usually not symmetric."
    )
    unlabeled: bool = setting(
        True, "Unlabeled patches are changed too; off: plain crops, and the method changes them."
    )
    elastic: float = setting(0.0, "Probability of an elastic deformation.", low=0.0, high=1.0)
    intensity: float = setting(0.8, "Probability of gain, offset and gamma.", low=0.0, high=1.0)
    bias_field: float = setting(
        0.3, "Probability of a smooth brightness field, as of MR coils.", low=0.0, high=1.0
    )
    noise: float = setting(0.2, "Probability of Gaussian noise.", low=0.0, high=1.0)
    blur: float = setting(0.15, "Probability of Gaussian smoothing.", low=0.0, high=1.0)
    low_resolution: float = setting(
        0.15, "Probability of simulated low resolution.", low=0.0, high=1.0
    )

    def __post_init__(self) -> None:
        """Check what no single limit can say.

        Raises:
            InputError: A range the wrong way round, or an axis that is not there.
        """
        if self.scale[0] > self.scale[1]:
            raise InputError(
                f"augmentation.scale: found {list(self.scale)}, expected the lower factor first"
            )
        if set(self.flip_axes) - set("zyx"):
            raise InputError(
                f"augmentation.flip_axes: found '{self.flip_axes}', expected letters of zyx"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimization."""

    steps: int = setting(2000, "Optimizer steps.", low=1)
    patch_size: tuple[int, int, int] = setting(
        (64, 96, 96), "Patch (z, y, x).", unit="voxel", low=1
    )
    labeled_batch: int = setting(2, "Labeled patches per step and process.", low=1)
    unlabeled_batch: int = setting(2, "Unlabeled patches per step and process.", low=0)
    unlabeled_cases: str = setting(
        "unlabeled",
        "Where unlabeled patches are drawn: from cases without a label, or from all training "
        "cases, whose labels then stay unseen.",
        choices=("unlabeled", "all"),
    )
    foreground: float = setting(
        0.7, "Share of labeled patches centered on a random foreground class.", low=0.0, high=1.0
    )
    optimizer: str = setting("adamw", "Optimizer.", choices=("sgd", "adamw"))
    learning_rate: float = setting(2e-3, "Highest learning rate.", low=0.0)
    momentum: float = setting(0.9, "SGD momentum.", low=0.0, high=1.0)
    weight_decay: float = setting(1e-4, "Weight decay.", low=0.0)
    schedule: str = setting(
        "one_cycle",
        "Learning rate over time.",
        choices=("constant", "polynomial", "one_cycle", "steps"),
    )
    cycles: int = setting(1, "schedule = one_cycle: this many times, one after another.", low=1)
    milestones: tuple[int, ...] = setting((), "schedule = steps: x0.1 at each of these steps.")
    clip_norm: float = setting(1.0, "Largest gradient norm; 0 = no clipping.", low=0.0)
    precision: str = setting(
        "auto",
        "Number format of the convolutions; auto is half precision on CUDA alone. On a CPU with "
        "instructions for it (`describe --machine`) bf16 trains faster. fp32 does without TF32.",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    device: str = setting("auto", "auto, cpu, cuda, cuda:N or mps.")
    threads: int = setting(
        0, "CPU threads; 0 = all cores, which the processes of torchrun share.", low=0
    )
    workers: int = setting(0, "Data loading processes; 0 = in the training process.", low=0)
    compile: bool = setting(
        False, "Compile the networks. On a CPU it needs a C++ compiler and was slower."
    )
    deterministic: bool = setting(False, "Only bit-reproducible kernels.")
    seed: int = setting(0, "Seed of weights, patches and augmentation.", low=0)
    validate_every: int = setting(0, "Steps between validations; 0 = at the end only.", low=0)
    autosave_minutes: float = setting(5.0, "Longest time between checkpoints.", unit="min", low=0.0)
    save_every: int = setting(0, "Also a checkpoint every so many steps; 0 = by time only.", low=0)
    keep_checkpoints: int = setting(3, "Newest checkpoints kept.", low=1)
    max_bad_steps: int = setting(10, "Stop after so many non-finite steps in a row.", low=1)
    tensorboard: bool = setting(False, "Also write TensorBoard files.")
    start_from: str | None = setting(
        None, "Package whose weights training starts from; default: from scratch."
    )
    preview_every: int = setting(
        0, "Steps between previews of one scan without label; 0 = none.", low=0
    )
    license: str | None = setting(
        None, "License and author that the card of the model states, e.g. CC BY 4.0, J. Doe."
    )

    def __post_init__(self) -> None:
        """Refuse a license that no package may carry, before any step is done.

        Raises:
            InputError: It is too long or not one line.
        """
        text = self.license or ""
        if len(text) > LONGEST_TEXT or not text.isprintable():
            raise InputError(
                f"training.license: found {len(text)} characters, expected one line of at most "
                f"{LONGEST_TEXT}; name the license and where it can be read"
            )


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How a trained network is applied to a whole scan; stored in the package as its default."""

    overlap: float = setting(0.5, "Overlap of neighbouring windows.", low=0.0, high=0.9)
    window_batch: int = setting(1, "Windows per forward pass.", low=1)
    skip_air: bool = setting(True, "Skip windows without tissue.")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a training run depends on but the data itself."""

    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    method: MethodSelection = field(default_factory=MethodSelection)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)


PROFILES: dict[str, Table] = {
    "gpu": {
        "network": {"name": "unet3d", "filters": [32, 64, 128, 256, 320]},
        "training": {
            "steps": 20000,
            "patch_size": [96, 128, 128],
            "workers": 4,
            "validate_every": 2000,
        },
    },
    "laptop": {
        "preprocessing": {"spacing_mm": [1.25, 1.25, 1.25]},
        "network": {"name": "unet3d", "filters": [16, 32, 64, 128], "stem": 2},
        "training": {
            "steps": 4000,
            "patch_size": [48, 64, 64],
            "foreground": 0.25,
            "weight_decay": 0.01,
        },
    },
    "paper": {
        "network": {
            "name": "vnet",
            "filters": [16, 32, 64, 128, 256],
            "norm": "batch",
            "dropout": 0.5,
            "negative_slope": 0.0,
        },
        "augmentation": {"preset": "paper"},
        "training": {
            "steps": 6000,
            "patch_size": [80, 112, 112],
            "optimizer": "sgd",
            "learning_rate": 0.01,
            "schedule": "steps",
            "milestones": [2500, 5000],
            "foreground": 0.0,
            "validate_every": 1000,
        },
    },
}


# Chosen by measurement with the laptop profile: docs/decisions/0003-laptop-profile.md.
_MEASURED: Table = {
    "fecl_scope": "none",
    "pseudo_label_weight": 1.0,
    "start": 0.1,
    "rampup": 0.4,
    "mixing": 1.0,
    "deep_supervision": 2,
}
_PUBLISHED_TEACHER: Table = {
    "rampup": 1.0,
    "teacher_noise": 0.1,
    "strong_intensity": 0.0,
    "predict_with": "student",
}
# What a profile sets for one method.
RECIPES: dict[str, dict[str, Table]] = {
    "gpu": {"dycon": _MEASURED},
    "laptop": {"dycon": _MEASURED},
    "paper": {
        "mean_teacher": _PUBLISHED_TEACHER,
        "ua_mt": _PUBLISHED_TEACHER,
        "ug_mcl": _PUBLISHED_TEACHER,
        "dycon": {
            **_PUBLISHED_TEACHER,
            "contrast_rampup": False,
            "entropy_coefficient": None,
            "detach_weights": False,
            "aspp": True,
            "hidden_features": 512,
            "embedding_features": 256,
        },
        "dec_seg": {"rampup": 0.0, "generator_features": 16},
        "dual_network": {"rampup": 1.0},
    },
}


def resolve(
    profile: str | None = None,
    tables: Sequence[Mapping[str, Any]] = (),
    assignments: Sequence[str] = (),
) -> RunConfig:
    """Return the settings of a run.

    Args:
        profile: A name of `PROFILES`, or None for the plain defaults.
        tables: Nested tables, e.g. of a TOML file, later over earlier.
        assignments: `section.key=value` texts; the value in TOML or as bare text.

    Raises:
        InputError: An unknown name (naming the nearest known one), a wrong type or value.
    """
    own: Table = {}
    for table in (*tables, *map(parse_assignment, assignments)):
        own = merge(own, table)
    if profile is None:
        return build(RunConfig, own)
    under = PROFILES[known(profile, PROFILES, "profile")]
    chosen = build(RunConfig, own).method.name
    recipe = RECIPES.get(profile, {}).get(chosen, {})
    return build(RunConfig, merge(merge(under, {"method": {"settings": recipe}}), own))
