"""Dataclasses of flags: types, bounds, groups, and conversions from and to records."""

import dataclasses

import pytest

from uotm_keras.config import (
    Boolean,
    Command,
    Enum,
    Enums,
    Float,
    Integer,
    Integers,
    Text,
    flag,
    from_flags,
    group,
    run_command,
    to_flags,
    updated,
)
from uotm_keras.utils.errors import InputError


@dataclasses.dataclass(frozen=True)
class Training:
    steps: int = flag(10, Integer(1, 100), "Number of steps.")
    rate: float = flag(0.5, Float(0, exclusive=True, below=1), "Learning rate.")
    fresh: bool = flag(False, Boolean(), "Whether to start afresh.")


@dataclasses.dataclass(frozen=True)
class Options:
    training: Training = group(Training, "Training")
    out: str = flag("", Text("the path of a folder"), "Folder.", required=True)
    sizes: tuple[int, ...] = flag((1, 2), Integers(1), "Sizes.")
    kind: str = flag("kl", Enum("kl", "chi2"), "Kind.")
    channels: int = flag(0, Enum(0, 1, 3), "Channels.")
    scores: tuple[str, ...] | None = flag(None, Enums("fid", "kid"), "Scores.", none="auto")

    def check(self) -> None:
        if self.training.fresh and self.training.steps > 50:
            raise InputError("--fresh needs --steps of at most 50.")


COMMAND = Command("Try flags.", Options, defaults={"steps": 20})


def parse(*arguments: str) -> Options:
    return COMMAND.parse(["--out=x", *arguments])


def test_values_are_typed():
    options = parse("--steps=7", "--rate=1e-3", "--sizes=3, 4", "--channels=3", "--scores=kid,fid")
    assert options == Options(
        Training(7, 1e-3), "x", (3, 4), channels=3, scores=("kid", "fid")
    )  # fmt: skip
    assert parse("--scores=auto").scores is None
    assert parse().training.steps == 20  # the command's default, not the class's


@pytest.mark.parametrize(
    "given, value",
    [("--fresh", True), ("--nofresh", False), ("--fresh=on", True), ("--fresh=off", False),
     ("--fresh=true", True), ("--fresh=false", False)],
)  # fmt: skip
def test_booleans(given, value):
    assert parse("--fresh", given).training.fresh is value


BAD = [
    ("--steps=0", "flag --steps=0: must be an integer from 1 to 100."),
    ("--steps=101", "an integer from 1 to 100"),
    ("--steps=1.5", "an integer from 1 to 100"),
    ("--steps=many", "an integer from 1 to 100"),
    ("--rate=0", "a number above 0 and below 1"),
    ("--rate=1", "a number above 0 and below 1"),
    ("--rate=nan", "a number above 0 and below 1"),
    ("--rate=inf", "a number above 0 and below 1"),
    ("--sizes=1,x", "integers of at least 1, separated by commas"),
    ("--sizes=", "integers of at least 1, separated by commas"),
    ("--kind=klm", "must be one of kl, chi2 (did you mean 'kl'?)."),
    ("--channels=2", "must be one of 0, 1, 3."),
    ("--scores=fdi", "(did you mean 'fid'?)"),
    ("--out=", "must be the path of a folder"),
    ("--fresh=maybe", "must be on or off"),
    ("--nosteps", "unknown flag --nosteps (did you mean 'steps'"),
    ("--step=3", "unknown flag --step (did you mean 'steps'"),
    ("stray", "unexpected argument 'stray'"),
    ("--steps", "Missing value"),
    ("--config=none", "unknown config 'none'"),
]


@pytest.mark.parametrize("given, words", BAD)
def test_mistakes(given, words):
    with pytest.raises(InputError) as error:
        parse(given)
    assert words in str(error.value) and str(error.value).endswith(".")


def test_a_required_flag_and_a_check_across_flags():
    with pytest.raises(InputError, match="flag --out is missing: give the path of a folder"):
        COMMAND.parse([])
    with pytest.raises(InputError, match="at most 50"):
        parse("--fresh", "--steps=51")


def test_help():
    lines = COMMAND.help().splitlines()
    assert lines[0] == "Try flags."
    assert "  --out  (the path of a folder; required)" in lines
    assert "  --sizes  (integers of at least 1, separated by commas; default 1,2)" in lines
    accepted = "one or more of fid, kid, separated by commas, or auto"
    assert f"  --scores  ({accepted}; default auto)" in lines
    assert "  --steps  (an integer from 1 to 100; default 20)" in lines
    assert "  --fresh  (on or off; default off)" in lines
    assert lines.index("Training:") > lines.index("Flags:")
    assert max(map(len, lines)) < 100


def test_records():
    options = parse("--fresh", "--steps=7", "--scores=kid")
    record = to_flags(options)
    assert record == {
        "steps": 7, "rate": 0.5, "fresh": "on", "out": "x", "sizes": [1, 2], "kind": "kl",
        "channels": 0, "scores": ["kid"],
    }  # fmt: skip
    assert from_flags(Options, record) == options
    assert from_flags(Options, {**record, "fresh": True, "other": 1}) == options
    assert from_flags(Options, {"scores": None}) == Options()
    for wrong in ({"steps": 0}, {"steps": 1.5}, {"sizes": 3}, {"fresh": "maybe"}, {"out": ""}):
        with pytest.raises(InputError, match="flag --"):
            from_flags(Options, wrong)
    assert updated(options, steps=8, kind="chi2").training == Training(8, fresh=True)
    with pytest.raises(TypeError, match="no flag step"):
        updated(options, step=8)


class TestRunCommand:
    def run(self, work, *arguments: str) -> int:
        return run_command(COMMAND, work, arguments, "half is written.")

    def test_exit_codes(self, capsys):
        assert self.run(lambda options: options.training.steps, "--out=x", "--steps=5") == 5
        assert self.run(lambda options: 1 / 0, "--help") == 0
        assert capsys.readouterr().out.startswith("Try flags.")

    def test_failures_are_one_line(self, capsys, tmp_path):
        def missing(options):
            open(tmp_path / "none")

        def refused(options):
            raise InputError("the data\n do not fit.")

        def stopped(options):
            raise KeyboardInterrupt

        for work, code, line in (
            (refused, 2, "error: the data do not fit.\n"),
            (missing, 2, f"error: cannot use {tmp_path}/none: No such file or directory.\n"),
            (stopped, 130, "interrupted: half is written.\n"),
        ):
            assert self.run(work, "--out=x") == code
            assert capsys.readouterr() == ("", line)
