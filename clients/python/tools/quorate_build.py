"""Builds the wheel (PEP 517, PEP 660): the package is a directory of Python files, and a wheel is a zip of them with
three files of metadata. Nothing has to be fetched for that."""

import base64
import hashlib
import os
import re
import tarfile
import zipfile

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PACKAGE = "quorate"


def _read(*path):
    with open(os.path.join(_ROOT, *path), "rb") as file:
        return file.read()


def _version():
    return re.search(rb'VERSION = "([^"]+)"', _read(_PACKAGE, "_version.py")).group(1).decode()


def _stem():
    return f"{_PACKAGE}-{_version()}"


def _metadata():
    project = _read("pyproject.toml").decode()
    fields = dict(re.findall(r'^([a-z-]+) = "([^"]*)"$', project, re.MULTILINE))
    head = [
        "Metadata-Version: 2.1",
        f"Name: {fields['name']}",
        f"Version: {_version()}",
        f"Summary: {fields['description']}",
        f"License: {fields['license']}",
        f"Requires-Python: {fields['requires-python']}",
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(head).encode() + b"\n\n" + _read(fields["readme"])


def _sources():
    for directory, directories, names in os.walk(os.path.join(_ROOT, _PACKAGE)):
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        for name in sorted(names):
            yield os.path.relpath(os.path.join(directory, name), _ROOT)


def _write_wheel(directory, files):
    info = f"{_stem()}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": _metadata(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: quorate\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = f"{_stem()}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # The same input makes the same wheel, whenever it is built.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _write_wheel(wheel_directory, {path.replace(os.sep, "/"): _read(path) for path in _sources()})


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _write_wheel(wheel_directory, {f"{_PACKAGE}.pth": _ROOT.encode() + b"\n"})


def build_sdist(sdist_directory, config_settings=None):
    name = f"{_stem()}.tar.gz"
    with tarfile.open(os.path.join(sdist_directory, name), "w:gz") as archive:
        for path in ["pyproject.toml", "README.md", os.path.join("tools", "quorate_build.py"), *_sources()]:
            archive.add(os.path.join(_ROOT, path), f"{_stem()}/{path}")
    return name
