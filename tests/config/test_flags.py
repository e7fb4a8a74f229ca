"""Flagfiles, shipped configs, and what is derived from `TrainConfig`."""

import json
import tomllib
from pathlib import Path

import pytest

from uotm_keras.cli.train import COMMAND
from uotm_keras.config import TrainConfig, catalog, flags_of, from_flags, to_flags
from uotm_keras.config.automatic import completed, undecided, with_run_dir
from uotm_keras.config.flagfiles import expand, without
from uotm_keras.utils.errors import InputError

ROOT = Path(__file__).parents[2]


class TestFlagfiles:
    def test_a_later_flag_overrides_the_file(self, tmp_path):
        file = tmp_path / "a.flags"
        file.write_text("\ufeff# a comment\n\n--dataset=digits\n--run_dir=x\n--tau=0.5\n")
        for arguments, tau in (
            ([f"--flagfile={file}"], 0.5),
            ([f"--flagfile={file}", "--tau=0.25"], 0.25),
            (["--tau=0.25", "--flagfile", str(file)], 0.5),
        ):
            assert COMMAND.parse(arguments).objective.tau == tau

    def test_an_included_file_is_relative_to_the_one_that_includes_it(self, tmp_path, monkeypatch):
        (tmp_path / "base.flags").write_text("--tau=1\n--width=7\n")
        (tmp_path / "a.flags").write_text("--flagfile=base.flags\n--tau=2\n")
        monkeypatch.chdir("/")
        arguments = [f"--flagfile={tmp_path}/a.flags", "--seed=3"]
        assert expand(arguments) == ["--tau=1", "--width=7", "--tau=2", "--seed=3"]
        assert without(arguments) == ["--seed=3"]

    def test_a_file_that_includes_itself(self, tmp_path):
        (tmp_path / "a.flags").write_text("--flagfile=a.flags\n")
        with pytest.raises(InputError, match="includes itself"):
            expand([f"--flagfile={tmp_path}/a.flags"])

    def test_a_shipped_config_from_another_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        config = COMMAND.parse(["--config=digits", "--tau=0.5"])
        assert config.data.dataset == "digits" and config.objective.tau == 0.5
        assert COMMAND.parse(["--config", "digits"]).generator.width == 256
        with pytest.raises(InputError, match="did you mean 'digits'"):
            COMMAND.parse(["--config=digit"])

    @pytest.mark.parametrize("flag", ["--flagfile", "--flagfile=", "--config"])
    def test_no_name(self, flag):
        with pytest.raises(InputError, match="needs"):
            COMMAND.parse([flag])


@pytest.mark.parametrize("name", catalog.names())
def test_every_shipped_config(name):
    config = COMMAND.parse([f"--config={name}"])
    assert config.run.run_dir == f"runs/{name}" and config.data.dataset
    assert from_flags(TrainConfig, json.loads(json.dumps(to_flags(config)))) == config
    assert catalog.description(name).endswith(".")


def test_every_flag_is_in_help():
    text = COMMAND.help()
    for name, flag in flags_of(TrainConfig).items():
        assert f"\n  --{name}  (" in text
        assert flag.help.endswith(".") and "  " not in flag.help
        # A default is accepted as it is shown.
        if not flag.required:
            assert flag.parser.parse(flag.text(flag.default)) == flag.default
    assert (
        "--ema_decay  (a number of at least 0 and below 1, or auto; default 0.9999; "
        "auto with --generator=auto)"
    ) in text
    assert "Paper: 0.9999 / 0.999." in text
    assert "  --config\n" in text and "  --flagfile\n" in text


TOGETHER = [
    ("--steps_per_execution=3 --max_steps=9", "must divide --log_every=100"),
    ("--keep_best", "set --eval_every above 0"),
    ("--wgan_gp_weight=10", "--r1_gamma=0.2 and --wgan_gp_weight=10 exclude each other"),
    ("--source_gradient_weight=1", "--r1_gamma=0.2 and --source_gradient_weight=1 exclude"),
    ("--jko_step_size=0.1", "--source_divergence=kl must be balanced"),
    ("--jko_first_phase_steps=5", "--jko_first_phase_steps=5 is for S-JKO"),
    ("--jko_data_noise=0.1", "--jko_data_noise=0.1 is for S-JKO"),
    ("--alpha_schedule=step --alpha_until=5 --alpha_warmup=5", "--alpha_warmup=5 must be below"),
    ("--rematerialize --dropout=0.1", "--dropout=0.1 must be 0"),
    ("--latent_dim=0", "--latent_dim=0 must be at least 1"),
    ("--conditional --contaminate=noise:0.1", "--contaminate=noise:0.1 and --conditional exclude"),
    ("--conditional --source_dataset=digits", "--source_dataset=digits and --conditional exclude"),
    ("--conditional --pairing=all_pairs", "--pairing=all_pairs and --conditional exclude"),
    ("--conditional --generator=small", "--generator=small cannot be conditional"),
    ("--lr_schedule=cosine --lr_minimum=1", "at most the smaller initial learning rate, 0.0001"),
]


@pytest.mark.parametrize("arguments, words", TOGETHER)
def test_checks_across_flags(arguments, words):
    with pytest.raises(InputError) as error:
        COMMAND.parse(["--dataset=digits", "--generator=ncsnpp", *arguments.split()])
    assert words in str(error.value)


# The flags that a config.json of 0.1.0, the last version with untyped flags, holds.
OLD = json.loads(
    """{
"run_dir": "runs/x", "resume": "auto", "max_steps": 60, "log_every": 7, "checkpoint_every": 10,
"sample_every": 25, "grid_size": 8, "export": "none", "seed": 0, "strategy": "auto",
"batch_statistics": "global", "accumulate": 1, "jit_compile": "auto", "dtype_policy": "float32",
"steps_per_execution": 1, "worker_timeout": 300.0, "virtual_devices": 1, "eval_every": 20,
"eval_samples": 30, "eval_metrics": null, "keep_best": "on", "inception_weights": "fid",
"dataset": "toy:moons:300", "data_dir": null, "image_size": 0, "channels": 0, "batch_size": 32,
"flip": "auto", "augment": null, "contaminate": null, "source_dataset": null, "num_workers": 2,
"generator": "resmlp", "base_channels": 128, "channel_multipliers": [1, 2, 2, 2],
"num_res_blocks": 2, "attention_resolutions": [16], "latent_dim": 3, "style_dim": 256,
"mapping_layers": 4, "dropout": 0.0, "rematerialize": "off", "width": 8, "blocks": 1,
"residual": "off", "potential": "resmlp", "potential_base_channels": 64, "potential_width": 8,
"potential_blocks": 1, "source_divergence": "kl", "target_divergence": "kl", "tau": 0.001,
"jko_step_size": 0.0, "jko_phase_steps": 10000, "r1_gamma": 0.2, "wgan_gp_weight": 0.0,
"optimality_weight": 0.0, "pairing": "paired", "potential_steps": 1, "generator_steps": 1,
"alpha_schedule": "linear", "alpha_start": 0.2, "alpha_end": 5.0, "alpha_until": 50,
"alpha_warmup": 0, "generator_lr": 0.00016, "potential_lr": 0.0001, "beta_1": 0.5, "beta_2": 0.9,
"ema_decay": 0.9999, "lr_schedule": "cosine", "lr_minimum": 1e-05, "lr_periods": 20,
"lr_period": "epoch"}"""
)
GIVEN = (
    "--run_dir=runs/x --max_steps=60 --log_every=7 --checkpoint_every=10 --sample_every=25 "
    "--eval_every=20 --eval_samples=30 --keep_best --dataset=toy:moons:300 --batch_size=32 "
    "--generator=resmlp --latent_dim=3 --width=8 --blocks=1 --potential=resmlp "
    "--potential_width=8 --potential_blocks=1 --alpha_schedule=linear --alpha_until=50 "
    "--lr_schedule=cosine --lr_periods=20"
).split()


class TestRunsOfEarlierVersions:
    def directory(self, tmp_path, **changes):
        from uotm_keras.training.run_directory import RunDirectory

        directory = RunDirectory(tmp_path)
        record = {"flags": {**OLD, **changes}, "backend": "jax"}
        directory.config.write_text(json.dumps(record))
        return directory

    def test_the_record_is_the_same(self):
        record = to_flags(COMMAND.parse(GIVEN))
        assert [item for item in record.items() if item[0] in OLD] == list(OLD.items())
        assert set(record) - set(OLD) == {
            "background", "budget", "source", "r1_fraction",
            "source_gradient_weight", "jko_first_phase_steps", "jko_data_noise", "conditional",
            "matmul_precision", "deterministic",
        }  # fmt: skip

    @pytest.mark.parametrize("value", ["on", True])
    def test_they_resume(self, tmp_path, value):
        directory = self.directory(tmp_path, keep_best=value)
        assert directory.check(COMMAND.parse(GIVEN), "jax")

    def test_operational_flags_may_differ(self, tmp_path):
        directory = self.directory(tmp_path)
        operational = [flag for flag in flags_of(TrainConfig).values() if flag.operational]
        assert len(operational) == 24
        others = ["--max_steps=90", "--nokeep_best", "--rematerialize", "--num_workers=0"]
        assert directory.check(COMMAND.parse([*GIVEN, *others]), "jax")

    def test_all_others_may_not(self, tmp_path):
        directory = self.directory(tmp_path)
        config = COMMAND.parse([*GIVEN, "--tau=0.5", "--residual", "--num_res_blocks=3"])
        with pytest.raises(InputError) as error:
            directory.check(config, "jax")
        for words in ("--tau=0.5 (there 0.001)", "--residual=on (there off)", "--num_res_blocks=3"):
            assert words in str(error.value)

    def test_unknown_flags_differ(self, tmp_path):
        with pytest.raises(InputError, match=r"--newer \(there 3\)"):
            self.directory(tmp_path, newer=3).check(COMMAND.parse(GIVEN), "jax")

    def test_a_damaged_value(self, tmp_path):
        with pytest.raises(InputError, match=r"config\.json: flag --width=8\.5: must be"):
            self.directory(tmp_path, width=8.5).check(COMMAND.parse(GIVEN), "jax")


def test_the_wheel_has_every_package_and_the_configs():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "uotm_keras").rglob("__init__.py")
    }
    assert set(setuptools["packages"]) == packages | {"uotm_keras.configs"}
    folder = ROOT / setuptools["package-dir"]["uotm_keras.configs"]
    assert setuptools["package-data"]["uotm_keras.configs"] == ["*.flags"]
    assert sorted(path.stem for path in folder.glob("*.flags")) == catalog.names()


def test_an_installed_package_has_its_own_configs(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/mine.flags").write_text("# One sentence\n# in two lines.\n#\n# More.\n")
    monkeypatch.setattr(catalog, "FOLDERS", (tmp_path / "configs", *catalog.FOLDERS))
    assert catalog.names() == ["mine"]
    assert catalog.description("mine") == "One sentence in two lines."


def test_a_flagfile_may_start_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "run.flags"
    file.write_bytes("\ufeff--run_dir=here\n--dataset=digits\n".encode())
    config = COMMAND.parse([f"--flagfile={file}"])
    assert (config.run.run_dir, config.data.dataset) == ("here", "digits")


class TestAutomaticFlags:
    def test_without_a_generator_all_are_left_to_the_program(self):
        config = COMMAND.parse(["--dataset=folder:a/my images.zip", "--tau=0.5"])
        automatic = {name for name, flag in flags_of(TrainConfig).items() if flag.automatic}
        assert set(undecided(config)) == automatic - {"tau"}
        assert config.objective.tau == 0.5 and config.potential.potential_blocks == 3
        assert with_run_dir(config).run.run_dir == "runs/my_images"

    def test_a_generator_has_the_papers_defaults(self):
        config = COMMAND.parse(["--dataset=digits", "--generator=resmlp", "--batch_size=auto"])
        assert undecided(config) == ["batch_size"]
        assert config.objective.tau == 1e-3 and config.data.source == "gaussian"
        full = completed(config, from_flags(TrainConfig, {"batch_size": 7}))
        assert full.data.batch_size == 7 and not undecided(full)

    @pytest.mark.parametrize(
        "dataset, name",
        [("digits", "digits"), ("tfds:cifar10", "cifar10"), ("toy:moons:50", "moons_50"),
         ("mnist5k:thin", "thin"), ("folder:/data/faces/", "faces"), ("zip:b.zip", "b")],
    )  # fmt: skip
    def test_the_runs_folder(self, dataset, name):
        assert with_run_dir(COMMAND.parse([f"--dataset={dataset}"])).run.run_dir == f"runs/{name}"

    @pytest.mark.parametrize("text", ["30s", "0.5m", "1", "1d", "-1h", ""])
    def test_budgets_that_are_not(self, text):
        with pytest.raises(InputError, match="flag --budget=.*a time of at least 60 s"):
            COMMAND.parse(["--dataset=digits", f"--budget={text}"])
