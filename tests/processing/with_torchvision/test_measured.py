"""The table in docs/processors.md is what the measurement gives."""

from pathlib import Path

from processing.with_torchvision.measure import PUBLIC, measured

DOCUMENT = Path(__file__).parents[3] / "docs" / "processors.md"


def test_table_of_the_document():
    lines = [line.strip("| ").split(" | ") for line in DOCUMENT.read_text(encoding="utf-8").splitlines()]
    written = {line[0]: line[1:] for line in lines if line[0] in PUBLIC}
    assert list(written) == list(PUBLIC)
    for family, *both in measured():
        for levels, cells in zip(both, (written[family][:3], written[family][3:]), strict=True):
            if levels is None:
                assert cells == ["–"] * 3
                continue
            largest, mean, share = (float(cell.rstrip("%")) for cell in cells)
            # Builds of the two libraries differ a little; what is written must still describe what is measured.
            assert largest - 2 <= levels.max() <= largest + 2, family
            assert mean / 2 - 0.001 <= levels.mean() <= mean * 2 + 0.001, family
            assert (levels > 1.5).double().mean() * 100 <= share * 2 + 0.001, family
