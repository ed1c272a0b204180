"""Files of other launchers, checked by the launchers' own checkers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from zturbo.cli import main
from zturbo.runtime.net import keys

FILE = """
[[pipeline]]
name = "video_1"

  [[pipeline.stage]]
  name = "load"
  class = "m:Load"

  [[pipeline.stage]]
  name = "detect"
  class = "m:Detect"
  workers = 3
  resources = { cpu = 2, gpu = 0.5 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my video%.toml"
    path.write_text(FILE)
    return path


def rendered(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert main(["render", *words]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("words", "secret"), [([], "my-video"), (["--keys", "k"], "k"), (["--insecure"], "")]
)
def test_kubernetes_takes_the_manifests(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], secret: str
) -> None:
    made = rendered(
        capsys, "kubernetes", str(file), "--image", "x:1", "--file-in-image", "/app/v.toml", *words
    )
    for manifest in made:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    kinds = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in made]
    assert kinds == [
        ("Service", "my-video"),
        ("StatefulSet", "my-video-broker"),
        ("Deployment", "my-video-video-1-load"),
        ("Deployment", "my-video-video-1-detect"),
    ]
    detect = made[3]["spec"]
    assert detect["replicas"] == 3
    (container,) = detect["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "2"
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert ("--insecure" in container["args"]) is not bool(secret)
    secrets = [volume["secret"]["secretName"] for volume in _volumes(made) if "secret" in volume]
    assert secrets == ([f"{secret}-broker", f"{secret}-node", f"{secret}-node"] if secret else [])


def _volumes(made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pods = [manifest["spec"]["template"]["spec"] for manifest in made if "template" in manifest["spec"]]
    return [volume for pod in pods for volume in pod["volumes"]]


def test_each_name_that_is_used_in_a_pod_is_there(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = rendered(capsys, "kubernetes", str(file), "--image", "x:1", "--keys", "k")
    for manifest in made[1:]:
        pod = manifest["spec"]["template"]["spec"]
        names = {volume["name"] for volume in pod["volumes"]}
        names |= {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= names
            known = {variable["name"] for variable in container["env"]}
            assert {name for word in container["args"] for name in re.findall(r"\$\((\w+)\)", word)} <= known


def test_systemd_takes_the_units(file: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze (Debian package systemd) is missing")
    folder = tmp_path / "units"
    assert main(["render", "systemd", str(file), "-o", str(folder), "--user", "root"]) == 0
    units = sorted(folder.iterdir())
    assert [unit.name for unit in units] == [
        "my-video-broker.service",
        "my-video-sink.service",
        "my-video-video-1-detect.service",
        "my-video-video-1-load.service",
        "my-video.target",
    ]
    env = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "my video%%.toml" in units[0].read_text()


def test_units_of_a_network_that_others_reach_have_keys_or_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "v.toml"
    file.write_text('[broker]\nbind = "tcp://10.0.0.1:5555"\n' + FILE)
    assert main(["render", "systemd", str(file)]) == 2
    assert "would not start without keys" in capsys.readouterr().err
    for words in (["--keys", "/k"], ["--insecure"]):
        assert main(["render", "systemd", str(file), *words]) == 0
        assert capsys.readouterr().out.count(" ".join(words)) == 4
    file.write_text('[broker]\nkeys = "k"\nbind = "tcp://10.0.0.1:5555"\n' + FILE)
    assert main(["render", "systemd", str(file)]) == 0
    assert "--insecure" not in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--insecure"], ["--keys", "/k"]])
def test_compose(file: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    (made,) = rendered(capsys, "compose", str(file), "--image", "x:1", *words)
    assert [*made["services"]] == ["broker", "sink", "video-1-load", "video-1-detect"]
    for name, service in made["services"].items():
        assert service["command"][2].startswith("exec zturbo ")
        assert ("depends_on" in service) is (name != "broker")
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        own = "/k" if name == "broker" else "/k/node-local.key"
        assert volumes - {*made["volumes"]} == ({own} if "--keys" in words else set())
        assert ("--insecure" in service["command"][2]) is ("--insecure" in words)


ALIKE = """
[[pipeline]]
name = "p"
  [[pipeline.stage]]
  name = "a_b"
  class = "m:A"
  [[pipeline.stage]]
  name = "A-B"
  class = "m:A"
  [[pipeline.stage]]
  name = "LONG"
  class = "m:A"
[[pipeline]]
name = "_"
  [[pipeline.stage]]
  name = "_"
  class = "m:A"
""".replace("LONG", 64 * "x")


def test_stages_whose_names_launchers_would_not_tell_apart_or_not_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "v.toml"
    file.write_text(ALIKE)
    made = rendered(capsys, "kubernetes", str(file), "--image", "x:1", "--name", 42 * "n")
    names = [manifest["metadata"]["name"] for manifest in made]
    assert len({*names}) == len(names) == 6
    for manifest in made[1:]:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
        pod = manifest["spec"]["template"]
        labels = [*pod["metadata"]["labels"].values(), *(one["name"] for one in pod["spec"]["containers"])]
        assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label) for label in labels), labels
    (compose,) = rendered(capsys, "compose", str(file), "--image", "x:1", "--insecure")
    assert len(compose["services"]) == 6
    assert main(["render", "systemd", str(file), "-o", str(tmp_path / "units")]) == 0
    assert len([*(tmp_path / "units").iterdir()]) == 7


def test_a_missing_image_and_a_wrong_name_are_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "kubernetes", str(file)]) == 2
    assert "--image" in capsys.readouterr().err
    assert main(["render", "compose", str(file), "--image", "x", "--name", "A_b"]) == 2
    assert "--name" in capsys.readouterr().err
    assert main(["render", "compose", str(file), "--image", "x"]) == 2
    assert "--keys" in capsys.readouterr().err
    assert main(["render", "kubernetes", str(file), "--image", "x", "--keys", "k", "--insecure"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_the_commands_that_make_the_secrets_make_what_broker_and_nodes_take(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a Secret all files lie side by side."""
    monkeypatch.chdir(tmp_path)
    assert main(["render", "kubernetes", str(file), "--image", "x"]) == 0
    told = capsys.readouterr().err.replace("\\\n", " ").splitlines()
    for command in told[1].split("&&"):
        assert main(command.split()[1:]) == 0
    for line, roles in ((told[2], (("broker",), ("node",))), (told[3], (("node",),))):
        secret = tmp_path / line.split()[4]
        secret.mkdir(mode=0o700)
        for word in line.split()[5:]:
            source = Path(word.removeprefix("--from-file="))
            for path in source.iterdir() if source.is_dir() else [source]:
                shutil.copy2(path, secret)
        for role in roles:
            assert keys.read_keys(secret, role).who.role == role[0]
    assert {str(who) for who in keys.allowed(tmp_path / "my-video-broker").values()} == {
        "node local",
        "node pods",
        "admin admin",
    }
