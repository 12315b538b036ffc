"""What happens to files while a scan is being segmented."""

from __future__ import annotations

import pytest

from dycon_engine.data.formats.readers import read_label
from dycon_engine.data.formats.writers import write_scalar
from dycon_engine.inference.predictor import Predictor
from dycon_engine.predict import main
from Testing import tiny_package


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Segment a scan; meanwhile another program writes `appears`."""
    tiny_package.save(tmp_path / "ball.dycon")
    image = tiny_package.scan(1, size=(8, 12, 10))
    write_scalar(tmp_path / "a.nii.gz", image.array[0], image.geometry, overwrite=False)
    plain = Predictor.predict

    files = {"--package": "ball.dycon", "--input": "a.nii.gz", "--output": "o.nii.gz"}
    words = [str(word) for name, file in files.items() for word in (name, tmp_path / file)]

    def run(appears, *more):
        def interrupted(self, *arguments, **options):
            (tmp_path / appears).write_bytes(b"hand-made")
            return plain(self, *arguments, **options)

        monkeypatch.setattr(Predictor, "predict", interrupted)
        return main([*words, "--report", str(tmp_path / "r.json"), "--device", "cpu", *more])

    return run


@pytest.mark.parametrize("appears", ["o.nii.gz", "r.json"])
def test_a_file_that_appears_meanwhile_is_not_replaced_unasked(predict, tmp_path, capsys, appears):
    assert predict(appears) == 2
    assert (tmp_path / appears).read_bytes() == b"hand-made"
    written = {"o.nii.gz", "r.json"} & {path.name for path in tmp_path.iterdir()}
    assert written == {appears}
    assert f"{appears}': already there" in capsys.readouterr().err
    assert predict(appears, "--overwrite") == 0
    assert read_label(tmp_path / "o.nii.gz").array.shape == (8, 12, 10)
