"""Kubernetes manifests: a StatefulSet for broker and sink, and a Deployment for each stage."""

from __future__ import annotations

from typing import Any

from zturbo.deploy.network import Network
from zturbo.deploy.render.parts import KEYS, PORT, SHARED_MIB, STATE, Part, parts_of

__all__ = ["render"]

RUN = "/run/zturbo"
READY = f"{RUN}/ready"
USER = 1000
"""User and group of the processes in a container."""

Manifest = dict[str, Any]


def render(
    network: Network, name: str, *, image: str, file: str, storage: str, keys: str | None
) -> list[Manifest]:
    """The manifests, as values for YAML.

    Args:
        network: the network file.
        name: of the network; all objects' names begin with it.
        image: with zturbo, the network file and the stages.
        file: path of the network file in the image.
        storage: size of the claim for the state, such as ``10Gi``.
        keys: beginning of the names of the Secrets with the keys, ``KEYS-broker`` and ``KEYS-node``; None
            for a network without keys.
    """
    make = _Manifests(name, image, file, keys)
    parts = parts_of(network)
    members = [part for part in parts if part.role != "stage"]
    stages = [part for part in parts if part.role == "stage"]
    return [make.service(), make.broker(members, storage), *(make.stage(part) for part in stages)]


class _Manifests:
    def __init__(self, name: str, image: str, file: str, keys: str | None) -> None:
        self._name = name
        self._image = image
        self._file = file
        self._keys = keys

    def _labels(self, part: str) -> dict[str, str]:
        return {
            "app.kubernetes.io/name": "zturbo",
            "app.kubernetes.io/instance": self._name,
            "app.kubernetes.io/component": part,
        }

    def service(self) -> Manifest:
        """The broker is found under this name, also before it is ready: members ask until it is."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self._name, "labels": self._labels("broker")},
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": True,
                "selector": self._labels("broker"),
                "ports": [{"name": "broker", "port": PORT}],
            },
        }

    def broker(self, parts: list[Part], storage: str) -> Manifest:
        """Broker and sink in one pod, with a claim for what has to outlive it."""
        labels = self._labels("broker")
        spec = self._pod([self._container(part, f"tcp://$(POD_IP):{PORT}") for part in parts], "broker")
        claim = {
            "metadata": {"name": "state"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}},
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": f"{self._name}-broker", "labels": labels},
            "spec": {
                "serviceName": self._name,
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
                "volumeClaimTemplates": [claim],
            },
        }

    def stage(self, part: Part) -> Manifest:
        """One pod for each worker."""
        labels = self._labels(part.name)
        spec = self._pod([self._container(part, f"tcp://{self._name}:{PORT}")], "node")
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{self._name}-{part.name}", "labels": labels},
            "spec": {
                "replicas": part.workers,
                "selector": {"matchLabels": labels},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }

    def _pod(self, containers: list[Manifest], role: str) -> Manifest:
        volumes: list[Manifest] = [
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{SHARED_MIB}Mi"}},
            {"name": "run", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ]
        if self._keys:
            secret = {"secretName": f"{self._keys}-{role}", "defaultMode": 0o400}
            volumes.append({"name": "keys", "secret": secret})
        return {
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": containers,
            "volumes": volumes,
        }

    def _container(self, part: Part, broker: str) -> Manifest:
        ready = f"{READY}-{part.name}"
        address = "--bind" if part.role == "broker" else "--broker"
        words = [*part.command(self._file), address, broker, "--address", "$(POD_IP)", "--ready-file", ready]
        words += ["--state", STATE] if part.role != "stage" else ["--workers", "1"]
        words += [] if self._keys else ["--insecure"]
        env: list[Manifest] = [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "XDG_RUNTIME_DIR", "value": RUN},
        ]
        mounts: list[Manifest] = [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "run", "mountPath": RUN},
            {"name": "tmp", "mountPath": "/tmp"},
        ]
        if part.role != "stage":
            mounts.append({"name": "state", "mountPath": STATE})
        if self._keys:
            env.append({"name": "ZTURBO_KEYS", "value": KEYS})
            mounts.append({"name": "keys", "mountPath": KEYS, "readOnly": True})
        return {
            "name": part.name,
            "image": self._image,
            "command": ["zturbo"],
            "args": words,
            "env": env,
            "volumeMounts": mounts,
            "resources": _resources(part),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            # A look at a file costs next to nothing. It is there while all processes have joined.
            "readinessProbe": {"exec": {"command": ["test", "-e", ready]}, "periodSeconds": 5},
        }


def _resources(part: Part) -> Manifest:
    """What each worker gets. A part of a GPU is a GPU here: Kubernetes does not divide them."""
    cpu = part.resources.get("cpu", 1)
    gpu = part.resources.get("gpu", 0)
    wanted: Manifest = {"requests": {"cpu": str(cpu), "memory": "256Mi"}}
    if gpu:
        wanted["limits"] = {"nvidia.com/gpu": str(max(1, round(gpu)))}
    return wanted
