"""Certificates made by the `openssl` command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    path: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A CA in a folder of its own."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def make(cls, folder: Path) -> Authority:
        folder.mkdir()
        self = cls(folder)
        _openssl(
            "req", "-x509", *_KEY, "-keyout", folder / "ca-key.pem", "-out", self.path, "-days", "2",
            "-subj", "/CN=Test CA", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign",
        )  # fmt: skip
        return self

    def issue(self, name: str, *, addresses: str = "DNS:localhost,IP:127.0.0.1", expired: bool = False) -> Certificate:
        """A certificate for servers and clients."""
        path, key, request = (self.folder / f"{name}{end}" for end in (".pem", "-key.pem", ".csr"))
        _openssl("req", "-new", *_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={addresses}\n")
        dates = ("-startdate", "20200101000000Z", "-enddate", "20200102000000Z") if expired else ("-days", "2")
        database = self.folder / "index.txt"
        database.touch()
        config = self.folder / "ca.conf"
        config.write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={database}\nnew_certs_dir={self.folder}\nrand_serial=yes\n"
            f"default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n"
        )
        _openssl(
            "ca", "-batch", "-notext", "-config", config, "-cert", self.path, "-keyfile", self.folder / "ca-key.pem",
            "-in", request, "-out", path, "-extfile", extensions, *dates,
        )  # fmt: skip
        return Certificate(path, key)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=20)
