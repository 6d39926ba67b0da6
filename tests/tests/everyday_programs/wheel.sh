# Makes wheels/hello-1.0-py3-none-any.whl: a wheel is a zip file with a list of what is in it.
mkdir wheels
/usr/bin/python3 - <<'PYTHON'
import zipfile

described = "hello-1.0.dist-info/"
with zipfile.ZipFile("wheels/hello-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("hello.py", "def main(): print('hello')\n")
    wheel.writestr(described + "METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
    wheel.writestr(described + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(described + "entry_points.txt", "[console_scripts]\nhello = hello:main\n")
    wheel.writestr(described + "RECORD", "")
PYTHON
