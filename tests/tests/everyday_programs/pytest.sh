cat > test_it.py <<'PYTHON'
def test_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    assert list(tmp_path.iterdir())


def test_output(capfd):
    import os

    os.system("echo x")
    assert capfd.readouterr().out == "x\n"
PYTHON
/usr/bin/python3 -m pytest -q | grep -q '2 passed'
