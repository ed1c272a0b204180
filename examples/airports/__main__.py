"""Finds the remotest airport of each country: ``python -m examples.airports [FILE]``."""

import subprocess
import sys
from pathlib import Path

from examples.airports.stages import AIRPORTS
from zturbo import Client
from zturbo.deploy.network import Network

file = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).with_name("airports.toml"))
countries = sorted({row["country"] for row in AIRPORTS.values()})
with subprocess.Popen([sys.executable, "-m", "zturbo", "up", "--no-progress", file]) as everything:
    try:
        with Client(Network.load(file).broker.bind, timeout=30) as client:
            rows = list(client.map(countries, pipeline="airports"))
    finally:
        everything.terminate()
for country, count, code, nearest, km in sorted(rows, key=lambda row: -row[4])[:10]:
    print(f"{country} {km:5} km from {code} ({AIRPORTS[code]['name']}) to {nearest}; of {count} airports")
