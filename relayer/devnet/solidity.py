"""Compiles Solidity with the compiler that npm installed, and keeps the result in `build/`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from relayer.devnet.artefacts import Artefact, node_modules
from relayer.errors import ConfigInvalid
from relayer.keccak import keccak256

CACHE = Path("build/solidity")
COMPILE_TIMEOUT_S = 300.0
SCRIPT = """
const solc = require('solc');
const fs = require('fs');
const path = require('path');
const root = path.dirname(path.dirname(require.resolve('solc/package.json')));
const found = name => {
  try { return { contents: fs.readFileSync(path.join(root, name), 'utf8') }; }
  catch (error) { return { error: String(error) }; }
};
const input = fs.readFileSync(0, 'utf8');
process.stdout.write(solc.compile(input, { import: found }));
"""


async def compile_contracts(
    sources: Mapping[str, str],
    wanted: Sequence[tuple[str, str]],
    *,
    evm: str = "cancun",
    version: str = "0.8.24",
) -> dict[str, Artefact]:
    """Compile and return contracts by name; `wanted` are pairs of (source unit, contract).

    `sources` are texts of ours by unit name; a unit that is not among them is read from
    `node_modules`. A second call with the same input reads `build/solidity/` instead.
    """
    units = {unit: {"content": text} for unit, text in sources.items()}
    for unit, _ in wanted:
        if unit not in units:
            units[unit] = _read(unit)
    selection: dict[str, dict[str, list[str]]] = {}
    for unit, contract in wanted:
        selection.setdefault(unit, {})[contract] = ["abi", "evm.bytecode.object"]
    request = json.dumps(
        {
            "language": "Solidity",
            "sources": units,
            "settings": {
                "optimizer": {"enabled": True, "runs": 200},
                "evmVersion": evm,
                "outputSelection": selection,
            },
        },
        sort_keys=True,
    )
    cache = CACHE / f"{keccak256((version + request).encode()).hex()[:32]}.json"
    if not cache.is_file():
        answer = await _run(request)
        cache.parent.mkdir(parents=True, exist_ok=True)
        fresh = cache.with_suffix(".new")
        fresh.write_text(answer, encoding="utf-8")
        fresh.replace(cache)
    output = json.loads(cache.read_text(encoding="utf-8"))["contracts"]
    return {
        contract: Artefact(
            contract,
            bytes.fromhex(output[unit][contract]["evm"]["bytecode"]["object"]),
            tuple(output[unit][contract]["abi"]),
        )
        for unit, contract in wanted
    }


def _read(unit: str) -> dict[str, str]:
    for root in node_modules():
        file = root / unit
        if file.is_file():
            return {"content": file.read_text(encoding="utf-8")}
    raise ConfigInvalid(f"no {unit} in node_modules: run `npm ci` (or `make setup`) first")


async def _run(request: str) -> str:
    root = next((one for one in node_modules() if (one / "solc").is_dir()), None)
    if root is None:
        raise ConfigInvalid("no solc in node_modules: run `npm ci` (or `make setup`) first")
    compiler = await asyncio.create_subprocess_exec(
        "node", "-e", SCRIPT, cwd=root.parent,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(COMPILE_TIMEOUT_S):
        answer, complaint = await compiler.communicate(request.encode())
    if compiler.returncode != 0:
        raise ConfigInvalid(f"the Solidity compiler failed: {complaint.decode()[-300:]}")
    errors = [
        one["formattedMessage"]
        for one in json.loads(answer).get("errors", ())
        if one["severity"] == "error"
    ]
    if errors:
        raise ConfigInvalid(f"Solidity: {errors[0][:500]}")
    return answer.decode()
