"""A real Orthanc to talk with."""

from __future__ import annotations

import http.client
import json
import pathlib
import subprocess
import time

from tests import peers, ports


class Orthanc:
    """An Orthanc with a node as its modality."""

    def __init__(self, work: pathlib.Path, modality: dict[str, object], **more: object) -> None:
        self.http, self.port = ports.free(), ports.free()
        configuration = {
            "Name": "test",
            "StorageDirectory": str(work / "storage"),
            "IndexDirectory": str(work / "storage"),
            "HttpPort": self.http,
            "DicomPort": self.port,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "DicomModalities": {"node": modality},
            "Plugins": [],
            **more,
        }
        work.mkdir()
        path = work / "orthanc.json"
        path.write_text(json.dumps(configuration))
        self.log = work / "orthanc.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [peers.require("Orthanc"), str(path)], env=peers.environment(), stdout=log, stderr=log
            )
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                self.ask("GET", "/system")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError(self.log.read_text())

    def ask(self, method: str, path: str, body: bytes = b"") -> dict[str, object]:
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=30)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status == 200, f"{path}: {answer.status} {text}\n{self.log.read_text()[-3000:]}"
            found = json.loads(text)
            assert isinstance(found, dict)
            return found
        finally:
            connection.close()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
