"""The weights of a run, packed for a preset."""

import numpy as np
from tiny_run import TinyRun

from experiments import pack_weights


def test_the_averaged_generator_is_packed(tmp_path):
    from uotm_keras.training.runs import load_run

    assert TinyRun(tmp_path / "run").train(max_steps=10) == 0
    out = tmp_path / "new" / "weights.npz"
    assert pack_weights.main([f"--run_dir={tmp_path / 'run'}", f"--out={out}"]) == 0
    weights = load_run(tmp_path / "run").model.ema_generator.get_weights()
    with np.load(out) as packed:
        assert packed.files == [f"{i:03d}" for i in range(len(weights))]
        for mine, array in zip(weights, packed.values(), strict=True):
            assert array.dtype == "float16"
            np.testing.assert_allclose(array, mine, rtol=1e-3, atol=1e-6)


def test_bad_input(tmp_path, capsys):
    assert pack_weights.main([f"--run_dir={tmp_path}"]) == 2
    assert "--out is missing" in capsys.readouterr().err
    assert pack_weights.main([f"--run_dir={tmp_path}", f"--out={tmp_path / 'w.npz'}"]) == 2
    assert "holds no run" in capsys.readouterr().err
