"""What every refused command has in common."""


def one_line(result, code, *words):
    """Exit code, nothing on stdout, one line without a traceback that holds each of the words."""
    assert result.code == code
    assert result.out == ""
    assert "Traceback" not in result.err
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
