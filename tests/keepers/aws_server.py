"""Moto's AWS KMS as a program of its own: `python aws_server.py PORT_FILE [--as-it-is]`.

Moto 5 hashes every message, also one whose MessageType is DIGEST; AWS signs such a digest as it is
(docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html). That is put right here, in the emulator
alone, unless it is wanted `--as-it-is`.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from moto.kms.responses import KmsResponse
from moto.server import ThreadedMotoServer

_hashing_sign = KmsResponse.sign


def sign(self: KmsResponse) -> str:
    """`Sign`, with the digest taken as it is when it is called one."""
    if self._get_param("MessageType") != "DIGEST":
        return str(_hashing_sign(self))
    key = self.kms_backend.describe_key(self._get_param("KeyId"))
    scheme = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    signature = key.private_key.private_key.sign(self._get_param("Message"), scheme)
    return json.dumps(
        {
            "KeyId": key.arn,
            "Signature": base64.b64encode(signature).decode(),
            "SigningAlgorithm": self._get_param("SigningAlgorithm"),
        }
    )


def main(port_file: Path, *, as_it_is: bool) -> None:
    """Serve until killed; the port is written to `port_file` when it listens."""
    if not as_it_is:
        KmsResponse.sign = sign
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    written = port_file.with_suffix(".part")
    written.write_text(str(port))
    written.rename(port_file)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), as_it_is="--as-it-is" in sys.argv[2:])
