"""Another local AWS: the server of moto, which reads the documents of AWS in its own way."""

from pathlib import Path

from local_aws import LocalAws


class Moto(LocalAws):
    """`with Moto() as aws:` runs one moto, as LocalAws runs one MiniStack."""

    SERVER = Path(__file__).with_name("moto_server.py")
